"""Pipelines in a study: the runs behind each arm, their evaluations by stage, what they cost together.

An arm's runs are its pipeline's last stages. `stage.start` of a run's config names the one that it begins
from, `stage.teacher` the one that taught it; either may be other arms' too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.stats.inference import tost
from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("sampled_tokens", "teacher_tokens", "trained_tokens", "flops", "seconds", "gpu_seconds")


@dataclass(frozen=True)
class Stage:
    """One stage of an arm: its name, its objective, and its run of each seed. The first has index 1.

    A stage that trains a teacher is of no part of the arm's own weights.
    """

    index: int
    name: str
    objective: str
    runs: dict[str, str]
    is_teachers: bool = False


def chain(study: Study, run: str) -> list[str]:
    """The runs that a run's weights come from, in order, itself last; none before one without a config."""
    found = [run]
    while (start := study.configs.get(found[0], {}).get("stage.start")) is not None and start not in found:
        found.insert(0, str(start))
    return found


def lineage(study: Study, run: str) -> list[str]:
    """Every run that a run comes from, in order, itself last: `chain`, and those of its teachers."""
    found: list[str] = []
    for name in chain(study, run):
        teacher = study.configs.get(name, {}).get("stage.teacher")
        for each in [*([] if teacher is None else lineage(study, str(teacher))), name]:
            if each not in found:
                found.append(each)
    return found


def earlier_stages(study: Study) -> set[str]:
    """Runs that another run of the study begins from, or is taught by."""
    return {name for run in study.configs for name in lineage(study, run)[:-1]}


def total(study: Study, run: str, column: str) -> float | None:
    """A cost summed over a run, the stages before it and its teachers'; None where one has no record."""
    costs = _column(study, column)
    values = [costs.get(name) for name in lineage(study, run)]
    known = [value for value in values if value is not None]
    return float(sum(known)) if len(known) == len(values) else None


def mean_total(study: Study, runs: Sequence[str], column: str) -> float | None:
    """The mean of `total` over runs; None without runs, or where a stage of one has no record."""
    values = [total(study, run, column) for run in runs]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def stages_of(study: Study, label: str) -> list[Stage]:
    """The stages of an arm's finished runs, in order; empty for an arm that is no pipeline."""
    finished = study.finished[study.finished["arm"] == label]
    found: dict[int, Stage] = {}
    for run, seed in zip(finished["run_id"], finished["seed"], strict=True):
        own = chain(study, str(run))
        for index, name in enumerate(lineage(study, str(run)), start=1):
            config = study.configs.get(name, {})
            if config.get("stage.index") is None:
                continue
            place = Stage(
                index, str(config["stage.name"]), str(config.get("objective.name")), {}, name not in own
            )
            found.setdefault(index, place).runs[str(seed)] = name
    return [found[index] for index in sorted(found)]


def stage_rate_notes(study: Study) -> list[str]:
    """Arms with an earlier stage at another rate than its seeds chose where that stage is an arm itself."""
    chosen: dict[str, dict[str, float]] = {}
    for choice in study.choices:
        if choice.chosen is not None and (own := stages_of(study, choice.arm)):
            chosen.setdefault(own[-1].name, {})[choice.seed] = float(choice.chosen)
    notes = []
    for arm in study.record.arms:
        for stage in stages_of(study, arm.label)[:-1]:
            best = chosen.get(stage.name, {})
            ran = {
                seed: float(study.configs[run]["trainer.lr"])
                for seed, run in stage.runs.items()
                if seed in best
            }
            others = [best[seed] for seed, rate in ran.items() if rate != best[seed]]
            if others:
                rates, which = (", ".join(f"{r:g}" for r in sorted(set(v))) for v in (ran.values(), others))
                notes.append(
                    f"{arm.label}: its stage {stage.name} ran at trainer.lr={rates}, where by itself "
                    f"{len(others)} of {len(ran)} seeds chose {which}: what is said of {arm.label} is of "
                    "that rate, too"
                )
    return notes


def unchosen_stages(
    stages: Mapping[str, Sequence[tuple[str, Collection[str]]]],
    scores: Mapping[str, tuple[str, float]],
    margin: float | None,
) -> dict[str, list[str]]:
    """Arm -> its earlier stages that mostly are other runs than those of the arm that ends with that stage.

    `stages`: for each arm (stage, its runs) in order. Only the learning rate can make them others. Left out
    are stages that are shown to be as good: equivalent within `margin`, by `scores`, run -> (seed, accuracy).
    """
    ends = {own[-1][0]: set(own[-1][1]) for own in stages.values() if own}
    found = {
        arm: [
            name
            for name, runs in own[:-1]
            if name in ends
            and 2 * len(set(runs) - ends[name]) > len(runs)
            and not _equivalent(runs, ends[name], scores, margin)
        ]
        for arm, own in stages.items()
    }
    return {arm: names for arm, names in found.items() if names}


def _equivalent(
    ran: Collection[str],
    chosen: Collection[str],
    scores: Mapping[str, tuple[str, float]],
    margin: float | None,
) -> bool:
    """Whether two one-sided t tests at 0.05 show runs within a margin of others, paired by seed."""
    if margin is None or margin <= 0:
        return False
    before, after = (dict(scores[run] for run in runs if run in scores) for runs in (ran, chosen))
    differences = [before[seed] - after[seed] for seed in before if seed in after]
    p = tost(differences, margin=margin).p_value if differences else None
    return p is not None and p <= 0.05


def unchosen_text(unchosen: Mapping[str, Sequence[str]], arms: Collection[str]) -> str | None:
    """`stage rl of r1 ran at a rate that its own seeds do not choose …`, of the first arm that has one."""
    for arm in arms:
        if arm in unchosen:
            many = len(unchosen[arm]) > 1
            return (
                f"stage{'s' * many} {' and '.join(unchosen[arm])} of {arm} ran at a rate that "
                f"{'their' if many else 'its'} own seeds do not choose"
            )
    return None


def stage_rows(study: Study, stage: Stage, task: str) -> dict[str, pd.Series[Any]]:
    """Seed -> evaluation of the checkpoint that a stage left, by its main protocol; of finished runs."""
    by_run = _rows_of(study, set(stage.runs.values()), task, base=False)
    return {seed: by_run[run] for seed, run in stage.runs.items() if run in by_run}


def rows_before(study: Study, stage: Stage, task: str) -> dict[str, pd.Series[Any]]:
    """Seed -> evaluation of what a stage began from: the stage before it, or its base."""
    starts = {seed: study.configs.get(run, {}).get("stage.start") or None for seed, run in stage.runs.items()}
    earlier = _rows_of(study, {str(start) for start in starts.values() if start}, task, base=False)
    bases = _rows_of(study, set(stage.runs.values()), task, base=True)
    found = {
        seed: bases.get(stage.runs[seed]) if start is None else earlier.get(str(start))
        for seed, start in starts.items()
    }
    return {seed: row for seed, row in found.items() if row is not None}


def _rows_of(study: Study, runs: set[str], task: str, *, base: bool) -> dict[str, pd.Series[Any]]:
    """Run -> evaluation by its main protocol, at its checkpoint or of its base; of finished runs."""
    frame = study.evaluations
    if frame.empty:
        return {}
    checkpoints = study.finished.set_index("run_id")["checkpoint"]
    rows = frame[(frame["task"] == task) & frame["run_id"].isin(runs & set(checkpoints.index))]
    rows = rows[rows["step"] == (0 if base else rows["run_id"].map(checkpoints))]
    return {str(row["run_id"]): row for _, row in rows.iterrows()}


def _column(study: Study, column: str) -> dict[str, float]:
    """A cost of each run whose record says it."""
    if column not in study.runs:
        return {}
    known = study.runs[study.runs[column].notna()]
    return dict(zip(known["run_id"].astype(str), known[column].astype(float), strict=True))
