"""The model card of an exported run: README.md with the hub's front matter. Imports no torch.

Every number comes from the run's records; nothing that a model wrote is in it, and no path of the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from analysis.stats.text import compact, interval_bounds, interval_text, points
from harness.launch.card_stages import stage_lines
from harness.launch.card_training import provenance, training, use
from harness.launch.exported import PROJECT, Exported, base_name, data_name, hub_datasets, hub_name
from harness.launch.measured import Measured, over_problems
from harness.schema.run_config import RunConfig

# What a licence asks of models made from one under it, where that is more than its own text.
_ASKS = {
    "llama3.1": "It asks that the model's name begins with “Llama” and that “Built with Llama” is shown."
}
_SPLITS = {
    "train": "trained on (a part of them)",
    "perturbed": "those with other numbers",
    "validation": "of the same kind, for choices",
    "test": "of the same kind, never trained on",
    "heldout": "of kinds never trained on",
}


def model_card(about: Exported) -> str:
    """The text of README.md."""
    matter = yaml.safe_dump(_front_matter(about), sort_keys=False, allow_unicode=True, width=110)
    stages = list(stage_lines(about.before, about.record, about.config, about.step))
    last = f" of the last stage, {about.config.stage.name}" if about.config.stage else ""
    sections: dict[str, Iterable[str]] = {
        "Evaluation": _evaluation(about),
        **({"Stages": stages} if stages else {}),
        f"Training{last}": training(about),
        "Use": use(about),
        "Intended use and limits": _limits(about),
        "Where it comes from": provenance(about),
    }
    body = "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items())
    return f"---\n{matter}---\n\n# {about.record.run_id}\n\n{_summary(about)}\n\n{body}\n"


def _front_matter(about: Exported) -> dict[str, Any]:
    """The hub's metadata; keys without a value are left out."""
    config = about.config
    kinds = ["sft" if _is_supervised(c) else "reinforcement-learning" for c in reversed(about.configs)]
    tags = [config.objective.name, *kinds, "math", "r1-ablations"]
    found: dict[str, Any] = {
        "license": about.licence,
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": config.model.hub_id,
        "base_model_relation": "finetune" if config.model.hub_id else None,
        "datasets": list(dict.fromkeys(name for c in about.configs for name in hub_datasets(c.data))),
        "tags": [*dict.fromkeys(tags), *(["conversational"] if about.chat else [])],
        "model-index": _model_index(about),
    }
    return {name: value for name, value in found.items() if value}


def _is_supervised(config: RunConfig) -> bool:
    return config.objective.offline is not None or config.objective.loss.fn == "nll"


def _model_index(about: Exported) -> list[dict[str, Any]]:
    """Results in the hub's form: accuracies in [0, 1], four decimals."""
    results = []
    for each in about.measured:
        if each.label == "train":  # what it was trained on is no result
            continue
        name = each.after.task.removesuffix("_k")
        metrics = [
            {
                "type": "accuracy",
                "name": measure.name,
                "value": round(sum(measure.after) / len(measure.after), 4),
            }
            for measure in each.measures
        ]
        dataset = {"name": name, "type": hub_name(name), "split": each.label}
        results.append({"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics})
    return [{"name": about.record.run_id, "results": results}] if results else []


def _summary(about: Exported) -> str:
    config = about.config
    steps = f"{about.step} steps" + ("" if about.step == about.last else f" of {about.last}")
    steps += f" after {len(about.before)} other stage{'s'[: len(about.before) > 1]}" if about.before else ""
    return (
        f"{base_name(about)}, trained for {steps} with `{config.objective.name}` on {data_name(config)}. "
        f"{compact(about.parameters)} parameters, {about.dtype}. It is one run (seed {config.seed}) of the "
        f"study `{about.record.study}` of {PROJECT}, which asks why R1-style reinforcement learning raises "
        "benchmark scores by changing one factor at a time."
    )


def _evaluation(about: Exported) -> Iterator[str]:
    if not about.measured:
        yield f"The run has no evaluation of step {about.step}."
        return
    yield "| problems | n | measure | before | after | after − before |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in about.measured:
        for i, measure in enumerate(each.measures):
            names = (each.label, str(each.after.n_problems)) if i == 0 else ("", "")
            before = "—" if measure.before is None else interval_bounds(*over_problems(measure.before))
            after = interval_bounds(*over_problems(measure.after))
            gain = interval_text(measure.difference, signed=True)
            yield f"| {' | '.join(names)} | {measure.name} | {before} | {after} | {gain} |"
    yield ""
    yield (
        f"In percent and points. Before: the untrained base, sampled in the same way: {_protocols(about)}. "
        "avg@k: mean accuracy of k samples; pass@k: one of the k is right; maj@k: their majority vote is "
        "right; greedy: the likeliest tokens. Brackets are 95 % intervals over problems (Student's t; "
        "Wilson's where all are right or all wrong; differences paired by problem): the model is fixed. "
        "Another seed of the same training gives another model, so no interval here says how good the method "
        "is. A number without brackets has no spread between problems, or too few of them."
    )
    if said := [
        f"{name}: {text}" for name, text in _SPLITS.items() if any(e.label == name for e in about.measured)
    ]:
        yield ""
        yield f"Problems: {'; '.join(said)}."


def _protocols(about: Exported) -> str:
    """How samples were drawn, with the problems that each protocol is of where there are several."""
    by_protocol: dict[str, list[str]] = {}
    for each in about.measured:
        record = each.after
        said = f"temperature {record.temperature:g}, top-p {record.top_p:g}, {record.max_new_tokens} tokens"
        by_protocol.setdefault(said, []).append(each.label)
    if len(by_protocol) == 1:
        return next(iter(by_protocol)) + " at most"
    return "; ".join(f"{said} at most ({', '.join(labels)})" for said, labels in by_protocol.items())


def _limits(about: Exported) -> Iterator[str]:
    yield (
        "- For research on training and evaluation, as a checkpoint that others can measure again. It is no "
        "assistant, and nothing was done to make its answers safe."
    )
    answers = ", answers in \\boxed{}" if list(about.config.data.answer_rules) == ["boxed"] else ""
    yield f"- It was trained and measured on problems like these alone, with prompts as above{answers}."
    yield "- An answer that is right can follow from steps that are wrong; accuracy looks at answers alone."
    yield from _warnings(about.measured)
    yield from (f"- Training was flagged: `{flag}`." for flag in about.record.flags)
    if about.record.status != "finished":
        yield f"- The run did not finish ({about.record.status}): this is the state it reached."
    if about.step != about.last:
        yield f"- This is step {about.step} of {about.last}, chosen by whoever exported it, not the last one."
    yield f"- {_licence_line(about)}"


def _warnings(found: Sequence[Measured]) -> Iterator[str]:
    """What the evaluations themselves say against the model."""
    floor = [
        f"{each.label} ({points(each.after.best_constant)} %)"
        for each in found
        if each.after.metrics.get("avg_at_k", 1.0) <= each.after.best_constant
    ]
    cut = [
        f"{each.label} ({points(share)} %)"
        for each in found
        if (share := each.after.metrics.get("truncated_share", 0.0)) >= 0.1
    ]
    if floor:
        yield f"- Not above the best constant answer, so no ability is shown: {', '.join(floor)}."
    if cut:
        yield f"- A tenth or more of the samples were cut at the length limit: {', '.join(cut)}."


def _licence_line(about: Exported) -> str:
    if about.licence is None and about.config.model.is_ladder:
        return "No licence is stated; whoever publishes it adds `license:` at the top of this file."
    if about.licence is None:
        return "The base's licence is not known here and applies; add `license:` at the top of this file."
    return f"Licence: that of the base, {about.licence}. {_ASKS.get(about.licence, '')}".strip()
