"""What each arm spent: rate, steps, updates, tokens, FLOPs; and where its control spent otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from analysis.stats.text import compact
from analysis.study.contrasts import ArmResult
from analysis.study.load import Study
from analysis.study.stages import lineage, mean_total

TOLERANCE = 0.1  # a budget that differs by less is not pointed out
COLUMNS = ["learning rate", "steps", "updates", "sampled tokens", "trained tokens", "FLOPs"]
BUDGETS = ("updates", "sampled_tokens", "trained_tokens", "flops")


@dataclass(frozen=True)
class Spent:
    """Means over an arm's finished runs; None where no record says. `rates` counts runs by learning rate."""

    rates: dict[float, int]
    steps: float | None
    updates: float | None
    sampled_tokens: float | None
    trained_tokens: float | None
    flops: float | None

    def cells(self) -> list[str]:
        numbers = (self.steps, self.updates, self.sampled_tokens, self.trained_tokens, self.flops)
        return [self.rate_text(), *map(compact, numbers)]

    def rate_text(self) -> str:
        """`0.0001`, or where seeds chose different ones `0.0001 (4), 0.0003 (2)`."""
        if len(self.rates) == 1:
            return f"{next(iter(self.rates)):g}"
        return ", ".join(f"{rate:g} ({n})" for rate, n in sorted(self.rates.items())) or "—"


def spent(study: Study, result: ArmResult) -> Spent:
    """What an arm's finished runs spent, over all stages of a pipeline, its teachers' included.

    The rate is the last stage's. Updates are optimiser steps, of every epoch and minibatch.
    """
    runs = study.finished[study.finished["arm"] == result.label]
    names = list(map(str, runs["run_id"]))
    rates = [study.configs.get(run, {}).get("trainer.lr") for run in runs["run_id"]]
    updates = None
    if "updates" in study.steps:
        stages = {stage for name in names for stage in lineage(study, name)}
        own = study.steps[study.steps["run_id"].astype(str).isin(stages)]
        by_run = own.groupby(own["run_id"].astype(str))["updates"].sum(min_count=1).dropna().to_dict()
        sums = [sum(by_run.get(s, 0.0) for s in lineage(study, name)) for name in names if name in by_run]
        updates = fmean(sums) if sums else None
    return Spent(
        rates=dict(Counter(float(rate) for rate in rates if rate is not None)),
        steps=mean_total(study, names, "steps_done"),
        updates=updates,
        **{name: result.means[name] for name in BUDGETS[1:]},
    )


def unmatched(study: Study, results: Sequence[ArmResult]) -> list[str]:
    """One line for each arm that spends another budget than its control, by more than a tenth."""
    by_arm = {r.label: spent(study, r) for r in results}
    lines = []
    for r in results:
        if r.control is None:
            continue
        found = []
        for name in BUDGETS:
            ours, theirs = getattr(by_arm[r.label], name), getattr(by_arm[r.control], name)
            if ours and theirs and abs(ours / theirs - 1) > TOLERANCE:
                found.append(f"{_share(ours / theirs)} of the {WORDS[name]}")
        if found:
            lines.append(f"{r.label} spends {', '.join(found)} of {r.control}")
    return lines


WORDS = {
    "updates": "updates",
    "sampled_tokens": "sampled tokens",
    "trained_tokens": "trained tokens",
    "flops": "FLOPs",
}


def _share(ratio: float) -> str:
    return f"{100 * ratio:.0f} %"
