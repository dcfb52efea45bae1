"""What a pretrained model calls for where nothing was given: template, lengths, rate, sampling. No torch.

The defaults of conf/ are the toy ladder's. For any other model `pretrained_lines` adds overrides to a run's,
so that they stand in its record; `pretrained_warnings` says what fits neither the model nor its problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from harness.data.load import load_split
from harness.launch.compose import Composer
from harness.launch.syntax import parse
from harness.model.dims import ModelDims, num_parameters
from harness.model.files.folder import chat_template
from harness.model.files.gguf import chat_template_of
from harness.model.files.source import gguf_file, kind_of, local_folder, shape
from harness.schema.model_config import ModelConfig
from harness.schema.presets import CONF, yaml_of
from harness.schema.run_config import ConfigError, RunConfig
from harness.schema.settings import STAGE_SETTING

Purpose = Literal["base", "chat", "thinking"]

# Longest outputs by purpose, in tokens. A model that thinks was evaluated with 32,768, which few GPUs sample.
TOKENS: dict[Purpose, int] = {"base": 1024, "chat": 1024, "thinking": 4096}
SMALL = 300e6  # parameters below which rates are higher
LOW, HIGH = 0.1, 10.0  # of the default rate: what is in use
LORA = 10.0  # adapters take about ten times the rate (Schulman et al. 2025, LoRA Without Regret)
LONG_SHARE = 0.02  # of reference solutions that may be longer than an output
CHARS_PER_TOKEN = 3.2  # of solutions of mathematics, where no tokenizer is at hand
LOOKED_AT = 200  # problems
OVERLAYS = ("experiment", "ablation", "pipeline")  # groups whose options set any other

_THINKING = re.compile(r"R1-Distill|QwQ|Think|Qwen3-(?!.*(Base|Instruct))", re.IGNORECASE)
_CHAT = re.compile(r"Instruct|Chat|-it$|Zephyr|Tulu", re.IGNORECASE)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([BM])(?![\w.])")


def pretrained_lines(composer: Composer, configs: Sequence[RunConfig], lines: Sequence[str]) -> list[str]:
    """Overrides that give a pretrained model's run what nothing else gave; none for a ladder model.

    `configs` are those of the run, or of a pipeline's stages, without them; `lines` what made them. What all
    stages lack alike is the whole pipeline's; else each stage that lacks it gets its own.
    """
    given = _given(composer, lines)
    names = [config.stage.name for config in configs if config.stage is not None]
    own = composer.stage_overrides(lines) if names else {}
    wanted = [
        _unset(_of_stage(config, configs[-1]), given | _given(composer, own.get(name, ())))
        for name, config in zip(names or [""], configs, strict=True)
    ]
    found = []
    for key in dict.fromkeys(key for each in wanted for key in each):
        values = [each.get(key) for each in wanted]
        if len(set(values)) == 1:
            found.append(f"{key}={values[0]}")
        elif key == "data.template":
            raise ConfigError(
                "data.template: a stage of the pipeline sets it, and nothing says by which one the model is "
                "measured; give data.template, or drop it in the stage"
            )
        else:
            found += [
                f"{STAGE_SETTING}{n}.{key}={v}" for n, v in zip(names, values, strict=True) if v is not None
            ]
    return found


def _of_stage(config: RunConfig, last: RunConfig) -> dict[str, Any]:
    """The defaults of a run or a stage; one that trains a teacher has the pipeline's, but for its rate."""
    whole = {} if last.model.is_ladder else _wanted(last)
    own = {} if config.model.is_ladder else _wanted(config)
    rate = {key: value for key, value in own.items() if key == "trainer.lr"}
    return {key: value for key, value in whole.items() if key != "trainer.lr"} | rate


def _unset(wanted: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """The defaults that nothing gave; temperature and top_p are one protocol."""
    both = {"eval.temperature", "eval.top_p"}
    return {k: v for k, v in wanted.items() if k not in given and not (k in both and both & given)}


def _wanted(config: RunConfig) -> dict[str, Any]:
    """The setting and its value of each default. eval: DeepSeek-R1's (arXiv:2501.12948 section 3)."""
    kind, chat = purpose(config.model), "chat_code" if config.data.answer_rules == ["program"] else "chat"
    dims = config.model.dims or (_shape(config.model) if config.model.source != "hub" else None)
    tokens = TOKENS[kind] if dims is None else min(TOKENS[kind], dims.max_position_embeddings // 2)
    return {
        **({"data.template": chat} if kind != "base" else {}),
        "rollout.max_new_tokens": tokens,
        "eval.max_new_tokens": tokens,
        "eval.temperature": 0.6,
        "eval.top_p": 0.95,
        "trainer.lr": f"{usual_rate(config):g}",
    }


def purpose(model: ModelConfig) -> Purpose:
    """What a model was made for: of the hub by its name alone, so that a download changes nothing."""
    if model.source == "hub":
        name = model.hub_id or ""
        return "thinking" if _THINKING.search(name) else "chat" if _CHAT.search(name) else "base"
    try:
        folder = local_folder(model) if kind_of(model) != "gguf" else None
        text = chat_template(folder) if folder is not None else chat_template_of(gguf_file(model))
    except (OSError, ValueError):  # the checks of the model say what is wrong
        return "base"
    return "base" if text is None else "thinking" if "<think>" in text else "chat"


def usual_rate(config: RunConfig) -> float:
    """The learning rate that others use: 1e-6 (TRL, verl), and 1e-5 below 300M parameters."""
    size = num_weights(config.model)
    rate = 1e-5 if size is not None and size < SMALL else 1e-6
    return rate * (LORA if config.trainer.lora is not None else 1.0)


def num_weights(model: ModelConfig) -> float | None:
    """Parameters, by the preset's shape, the name on the hub (`...-1.5B-...`) or the files; else None."""
    if model.source == "hub" and (model.dims is None or model.dims.vocab_size is None):
        found = _SIZE.search((model.hub_id or "").replace("_", "-"))
        return None if found is None else float(found[1]) * {"B": 1e9, "M": 1e6}[found[2]]
    dims = _shape(model)
    return None if dims is None else float(num_parameters(dims))


def _shape(model: ModelConfig) -> ModelDims | None:
    try:
        return shape(model)
    except (OSError, ValueError):  # the checks of the model say what is wrong
        return None


def _given(composer: Composer, lines: Sequence[str]) -> set[str]:
    """Every key that a command, its overlays or the user's own options set; not those of one stage."""
    found: set[str] = set()
    for override in parse(lines):
        key, value = override.key_or_group, override.value()
        if not key.startswith(STAGE_SETTING):
            found.add(key)
        if isinstance(value, str) and key in (*OVERLAYS, "data", "rollout", "trainer", "eval"):
            found |= _given_by(composer, key, value)
    return found


def _given_by(composer: Composer, group: str, option: str) -> set[str]:
    """Every key that a group's option sets: an overlay, those that it is laid over, a user's own option."""
    file, overlay = composer.file(group, option), group in OVERLAYS
    own = not file.is_relative_to(CONF) or (group != "data" and option != "default")
    if not (overlay or own) or not file.is_file():
        return set()
    content = yaml_of(file)
    found = set(_keys(content, "" if overlay else f"{group}."))
    for line in (content or {}).get("defaults") or ():
        for name, value in line.items() if isinstance(line, dict) else [_parted(str(line))]:
            inner = str(name).removeprefix("override ").strip("/ ")
            if inner in OVERLAYS and isinstance(value, str):
                found |= _given_by(composer, inner, value)
    return found


def _parted(line: str) -> tuple[str, str]:
    """`/experiment/wide` of a defaults list as its group and option."""
    group, _, option = line.rpartition("/")
    return group, option


def _keys(content: Any, prefix: str) -> Iterator[str]:
    for key, value in content.items() if isinstance(content, dict) else ():
        yield f"{prefix}{key}"
        yield from _keys(value, f"{prefix}{key}.")


def pretrained_warnings(config: RunConfig) -> list[str]:
    """What does not suit a pretrained model: a rate that nobody uses for its size, too short an output."""
    if config.model.is_ladder:
        return []
    return [*_rate_warning(config), *_length_warning(config)]


def _rate_warning(config: RunConfig) -> list[str]:
    usual, rate, size = usual_rate(config), config.trainer.lr, num_weights(config.model)
    if size is None or LOW * usual * 0.999 <= rate <= HIGH * usual * 1.001:
        return []
    kind = "adapters of a model" if config.trainer.lora is not None else "a model"
    return [
        f"trainer.lr={rate:g}: for {kind} of {size / 1e6:,.0f}M parameters {LOW * usual:g} to "
        f"{HIGH * usual:g} is in use, usually {usual:g}"
    ]


def _length_warning(config: RunConfig) -> list[str]:
    """A warning where reference solutions do not fit into an output, in tokens or estimated."""
    problems = load_split(config.data, "train")[:LOOKED_AT]
    texts = [p.solution for p in problems if p.solution and len(p.solution) > len(p.answer)]
    if len(texts) < 10:
        return []
    lengths, about = _lengths(config, texts)
    limit = config.rollout.max_new_tokens
    long = sum(length > limit for length in lengths)
    if long <= LONG_SHARE * len(lengths):
        return []
    enough = sorted(lengths)[int(0.98 * (len(lengths) - 1))]
    return [
        f"rollout.max_new_tokens={limit}: {about}{100 * long / len(lengths):.0f} % of {len(lengths)} "
        f"reference solutions of data={config.data.name} are longer and cannot be written; "
        f"{about}{enough:.0f} tokens hold 98 % of them"
    ]


def _lengths(config: RunConfig, texts: Sequence[str]) -> tuple[list[float], str]:
    """Tokens of each text, and "about " where they are estimated."""
    from harness.model.files.codec import Codec

    folder = None if kind_of(config.model) == "gguf" else local_folder(config.model)
    if folder is None:
        return [len(text) / CHARS_PER_TOKEN for text in texts], "about "
    codec = Codec.from_folder(folder)
    return [float(len(codec.encode(text))) for text in texts], ""
