"""What verl left, as a run's own records: metrics.jsonl, rollouts/, checkpoints/.

Metrics of the samples come from the lines that `Scorer` wrote, by the formulas of every other run
(`rollout_metrics`); those of the update are verl's, under this project's names where they mean the same:

    grad_norm, lr, loss              verl's; the loss with its KL and entropy, mean over the optimiser steps
    ratio, clip_*_frac, kl_old       of `slots.loss`: means over microbatches of their token means
    seconds_sample, _train, ...      verl's timers; `reference` is of old and reference logprobs together
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model.dims import ModelDims, forward_flops
from harness.records.published import remove
from harness.records.records import write_text
from harness.schema.run_config import RunConfig
from harness.training.batching import sampled_work
from harness.training.rollout_metrics import rollout_metrics
from harness.training.verl.slots import NAME
from harness.types import Grade, Problem, Prompt, Rollout, ScoredGroup

_UPDATE = {"actor/grad_norm": "grad_norm", "actor/lr": "lr", "actor/loss": "loss"}
_SECONDS = {
    "gen": "sample",
    "old_log_prob": "reference",
    "ref": "reference",
    "update_actor": "train",
    "update_weights": "sync",
    "save_checkpoint": "save",
}


def attempts(work: Path) -> list[Path]:
    """Metrics files of a run's attempts on verl, the earliest first."""
    return sorted(work.glob("metrics-*.jsonl"))


def verl_metrics(work: Path) -> dict[int, dict[str, Any]]:
    """verl's metrics by step, from 1; of a step that was done twice those of the later attempt."""
    found: dict[int, dict[str, Any]] = {}
    for path in attempts(work):
        for row in _rows(path):
            found[int(row["step"])] = row["data"]
    return found


@dataclass(frozen=True)
class Step:
    """One step's samples as groups, with what of them is written for a reader, and their token counts."""

    groups: list[ScoredGroup]
    shown: list[dict[str, Any]]
    num_prompt_tokens: int
    flops: float


def step_of(outputs: list[dict[str, Any]], config: RunConfig, dims: ModelDims) -> Step:
    """The samples of one step from their lines, in the order of its problems.

    Tokens are not kept, only counted: a rollout here has as many zeros. Of a problem that was sampled again
    after a restart the latest `group_size` lines count.
    """
    size = config.rollout.group_size
    by_place: dict[int, list[dict[str, Any]]] = {}
    for row in sorted(outputs, key=lambda row: row["at"]):
        by_place.setdefault(row["place"], []).append(row)
    latest = {place: rows[-size:] for place, rows in sorted(by_place.items())}  # as many as were asked for
    groups = [_group(rows) for rows in latest.values()]
    prompts = [group.prompt for group in groups for _ in group.rollouts]
    work = sampled_work(prompts, [rollout for group in groups for rollout in group.rollouts])
    shown = [
        _shown(row, i) for rows in latest.values() for i, row in enumerate(rows) if row["text"] is not None
    ]
    return Step(
        groups=groups,
        shown=shown[: config.rollout.keep],
        num_prompt_tokens=sum(len(prompt.token_ids) for prompt in prompts),
        flops=forward_flops(dims, **work),
    )


def outputs_folder(work: Path, step: int) -> Path:
    """Folder of the lines about a step's outputs, a file a process."""
    return work / "outputs" / f"step_{step:06d}"


def outputs_of(work: Path, step: int) -> list[dict[str, Any]]:
    """Lines about the outputs of a step."""
    return [row for path in sorted(outputs_folder(work, step).glob("*.jsonl")) for row in _rows(path)]


def is_complete(outputs: list[dict[str, Any]], config: RunConfig) -> bool:
    """Whether every sample of a step has its line."""
    counts = Counter(row["place"] for row in outputs)
    size = config.rollout.group_size
    return len(counts) == config.rollout.prompts_per_step and min(counts.values()) >= size


def drop_after(work: Path, step: int) -> None:
    """Remove what is known of later steps, which verl does again from its checkpoint of `step`."""
    for path in attempts(work):
        kept = [row for row in _rows(path) if row["step"] <= step]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
    for folder in (work / "outputs").glob("step_*"):
        if int(folder.name.removeprefix("step_")) > step:
            remove(folder)


def step_metrics(step: int, verl: dict[str, Any], of: Step, config: RunConfig) -> dict[str, float]:
    """One line of metrics.jsonl."""
    updates = config.objective.updates.epochs * config.objective.updates.minibatches
    found = {name: _number(verl[key]) for key, name in _UPDATE.items() if key in verl}
    prefix = f"actor/{NAME}/"
    found |= {key.removeprefix(prefix): _number(x) for key, x in verl.items() if key.startswith(prefix)}
    skipped = 0.0 if math.isfinite(found.get("grad_norm", 0.0)) else 1.0
    seconds: dict[str, float] = seconds_of(verl)
    metrics = {
        "step": step,
        **rollout_metrics(of.groups),
        **found,
        "updates": updates - skipped,
        "skipped_updates": skipped,
        **{f"seconds_{phase}": x for phase, x in seconds.items()},
        "flops": sum(flops_of(of, config).values()),
    }
    for use, phase, tokens in (
        ("sampled", "sample", metrics["sampled_tokens"]),
        ("trained", "train", trained_tokens(of, config)),
    ):
        if seconds.get(phase):
            metrics[f"{use}_per_second"] = tokens / seconds[phase]
    if "timing_s/step" in verl:
        metrics["gpu_seconds"] = float(verl["timing_s/step"]) * config.trainer.verl.num_gpus
    return metrics


def _number(x: float | None) -> float:
    """A metric of verl's; its log has null where one is not finite."""
    return math.nan if x is None else float(x)


def seconds_of(verl: dict[str, Any]) -> dict[str, float]:
    """Seconds of a step by this project's phases."""
    found: dict[str, float] = {}
    for name, phase in _SECONDS.items():
        if (x := verl.get(f"timing_s/{name}")) is not None:
            found[phase] = found.get(phase, 0.0) + float(x)
    return found


def trained_tokens(of: Step, config: RunConfig) -> int:
    """Tokens of a step's updates, prompts included: verl computes a prompt for each of its outputs."""
    sampled = sum(len(r.completion_ids) for group in of.groups for r in group.rollouts)
    return (sampled + of.num_prompt_tokens) * config.objective.updates.epochs


def flops_of(of: Step, config: RunConfig) -> dict[str, float]:
    """Model FLOPs of a step by use; of the old logprobs and a reference one forward pass each."""
    passes = 1 + config.objective.kl.uses_reference
    epochs = config.objective.updates.epochs
    return {"sampled": of.flops, "scored": passes * of.flops, "trained": 3 * epochs * of.flops}


def _group(rows: list[dict[str, Any]]) -> ScoredGroup:
    name = rows[0]["problem_id"]
    prompt = Prompt(name, "", "", (rows[0]["place"],) * rows[0]["num_prompt_tokens"])
    return ScoredGroup(
        problem=Problem(id=name, dataset="", split="train", text="", answer=""),
        prompt=prompt,
        rollouts=tuple(
            Rollout(name, i, (0,) * row["num_tokens"], row["text"] or "", None, row["finish_reason"])
            for i, row in enumerate(rows)
        ),
        grades=tuple(Grade(bool(row["correct"]), row["extracted"], "") for row in rows),
        rewards=tuple(float(row["reward"]) for row in rows),
    )


def _shown(row: dict[str, Any], sample_idx: int) -> dict[str, Any]:
    names = ("problem_id", "text", "reward", "correct", "extracted", "finish_reason")
    return {"sample_idx": sample_idx, **{name: row[name] for name in names}}


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    """Whole lines of a file that may still be written."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)
