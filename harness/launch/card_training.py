"""Sections of a model card on how a run was trained, how to use it and where it comes from. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from analysis.stats.text import compact
from harness.launch.exported import PROJECT, Exported, base_name, command, data_name, is_generated
from harness.schema.data_config import DataConfig
from harness.schema.presets import CONF
from harness.schema.prompts import CHAT, TEMPLATES
from harness.schema.run_config import RunConfig


def training(about: Exported) -> Iterator[str]:
    config, trainer = about.config, about.config.trainer
    rows = {
        "base": _base_line(about),
        "problems": _problems_line(about),
        "prompt": f"template `{config.data.template}`, as under Use",
        "objective": _objective_line(config),
        "samples": _samples_line(config),
        "optimiser": f"{trainer.optimizer}, rate {trainer.lr:g} ({trainer.schedule}, {trainer.warmup_steps} "
        f"warm-up steps), weight decay {trainer.weight_decay:g}, "
        f"gradient norm at most {trainer.max_grad_norm:g}",
        "precision": config.dtype,
        "adapters": None
        if trainer.lora is None
        else f"LoRA, rank {trainer.lora.rank}, alpha {trainer.lora.alpha:g}, merged into these weights",
        "tokens": ", ".join(f"{compact(n)} {use}" for use, n in about.record.tokens.items()) + " (whole run)",
    }
    yield "| | |"
    yield "| --- | --- |"
    yield from (f"| {name} | {text} |" for name, text in rows.items() if text)
    yield ""
    yield "The objective in full (rewards without a weight are left out):"
    yield ""
    yield "```yaml"
    yield yaml.safe_dump(_objective(config), sort_keys=False).rstrip()
    yield "```"


def _samples_line(config: RunConfig) -> str:
    rollout, offline = config.rollout, config.objective.offline
    if offline is not None:
        passes = f"{offline.epochs} pass{'es'[: 2 * (offline.epochs > 1)]} in batches of {offline.batch_size}"
        if offline.sampler == "reference":
            return f"none; the problems' own solutions ({offline.form}), {passes}"
    sampled = (
        f"{rollout.prompts_per_step} problems × {rollout.group_size} completions a step, at most "
        f"{rollout.max_new_tokens} tokens, temperature {rollout.temperature:g}"
    )
    return sampled if offline is None else f"{sampled}, drawn once from the {offline.sampler}; {passes}"


def _objective(config: RunConfig) -> dict[str, Any]:
    found = config.objective.model_dump(mode="json", exclude_none=True)
    return found | {"reward": {name: value for name, value in found["reward"].items() if value}}


def _base_line(about: Exported) -> str:
    config, base = about.config, about.base
    if not config.model.is_ladder:
        revision = f", revision {config.model.revision}" if config.model.revision else ""
        package = (
            " (its GGUF file, dequantised)" if base and "gguf" in base.identity.get("content", {}) else ""
        )
        return f"{base_name(about)}{revision}{package}, `{about.record.base_id}`"
    made = "" if base is None else f", {compact(base.tokens)} tokens, final loss {base.final_loss:.2f}"
    return f"`{about.record.base_id}`: made here, corpus `{config.corpus}`{made}"


def _problems_line(about: Exported) -> str:
    data, report = about.config.data, about.data_report.get("train", {})
    parts = [data_name(about.config)]
    if "num_problems" in report:
        parts.append(f"{report['num_problems']} training problems")
    if data.levels and is_generated(data):
        parts.append(f"levels {', '.join(map(str, data.levels))}")
    if data.families and is_generated(data):
        parts.append(f"families {', '.join(data.families)}")
    if report.get("num_contaminated"):
        parts.append(f"{report['num_contaminated']} left out that overlap with evaluation problems")
    return "; ".join(parts)


def _objective_line(config: RunConfig) -> str:
    name = config.objective.name
    path = CONF / "objective" / f"{name}.yaml"
    first = path.read_text(encoding="utf-8").splitlines()[0] if path.exists() else ""
    said = re.match(rf"name: {re.escape(name)}\s+# (.+)", first)
    return f"`{name}`" + (f": {said[1]}" if said else "")


def use(about: Exported) -> Iterator[str]:
    config, evaluation = about.config, about.config.eval
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield 'name = "OWNER/NAME"  # on the hub, or this folder'
    yield "tokenizer = AutoTokenizer.from_pretrained(name)"
    yield "model = AutoModelForCausalLM.from_pretrained(name)"
    yield f"problem = {_example(config.data)!r}"
    yield f"prompt = {_prompt_of(config)!r}.replace({'{problem}'!r}, problem)  # as it was trained"
    if _chats(config):
        yield 'chat = [{"role": "user", "content": prompt}]'
        yield "inputs = tokenizer.apply_chat_template("
        yield '    chat, add_generation_prompt=True, return_tensors="pt", return_dict=True'
        yield ")"
    else:
        yield 'inputs = tokenizer(prompt, return_tensors="pt")'
    yield "output = model.generate("
    yield f"    **inputs, max_new_tokens={evaluation.max_new_tokens}, do_sample=True,"
    sampling = f"temperature={evaluation.temperature!r}, top_p={evaluation.top_p!r}, top_k=0"
    yield f"    {sampling},  # as it was evaluated"
    yield ")"
    yield 'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))'
    yield "```"
    yield ""
    yield "`vllm serve OWNER/NAME` and `lm_eval --model hf --model_args pretrained=OWNER/NAME` take it too."


def _chats(config: RunConfig) -> bool:
    return config.data.template in CHAT


def _prompt_of(config: RunConfig) -> str:
    return TEMPLATES[config.data.template]


def _example(data: DataConfig) -> str:
    """A problem of the training set's kind: a generated one, else none of a published set."""
    if data.dataset == "aime_gen" and data.families and data.levels:
        from harness.data.aime_gen import generate

        instance = generate(data.families[0], data.levels[0], 0)
        return instance.text if data.style == "full" else instance.terse
    return "What is 12 + 30?"


def provenance(about: Exported) -> Iterator[str]:
    record = about.record
    code = record.code
    commit = code.get("commit") or "unknown"
    dirty = " with uncommitted changes" if code.get("dirty") else ""
    earlier = f" (begun by {', '.join(code['earlier_commits'])})" if code.get("earlier_commits") else ""
    yield f"- Run `{record.run_id}`, study `{record.study}`, seed {about.config.seed}, step {about.step}."
    yield f"- {PROJECT} {code.get('version') or ''}, commit `{commit}`{dirty}{earlier}."
    versions = [
        f"{name} {record.packages[name]}" for name in ("torch", "transformers") if name in record.packages
    ]
    device = record.hardware.get("gpu") or record.hardware.get("processor") or record.hardware.get("device")
    yield f"- {', '.join(versions)}; {device}; finished {record.finished or 'never'}."
    yield f"- Settings: `training_config.yaml`. Command: `{command(record.overrides)}`"
