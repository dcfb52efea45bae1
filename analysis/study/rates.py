"""Learning rates that run at every seed: each seed's choice on its own validation, and the response to them.

`Arm.rates` of study.json names every run by rate and seed. The rate is chosen inside the seed, so that an
interval over seeds contains the choice. A seed that lacks a rate chooses none: the best of fewer rates is
another quantity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.records import records

if TYPE_CHECKING:
    import pandas as pd

SPLIT = "validation"
KINDS = {"lr": float, "chosen": bool}  # of columns; the others hold text or None


@dataclass(frozen=True)
class SeedChoice:
    """One seed of an arm: avg@k on its validation by rate, and the rate that it got.

    `missing`: rates without a finished, evaluated run, for which the seed is left out. `edge`: the chosen one
    is the grid's smallest or largest and not one of a tie.
    """

    arm: str
    seed: str
    scores: dict[str, float]
    missing: list[str]
    chosen: str | None
    edge: bool


def grid_places(plan: records.StudyRecord) -> dict[str, tuple[str, str, str]]:
    """Run id -> (arm, seed, rate) of every run of a grid."""
    return {
        name: (arm.label, seed, rate)
        for arm in plan.arms
        for rate, runs in arm.rates.items()
        for seed, name in runs.items()
    }


def choose_rates(
    plan: records.StudyRecord, runs: pd.DataFrame, evaluations: pd.DataFrame
) -> list[SeedChoice]:
    """Each seed's best rate by avg@k on validation at the run's judged checkpoint, the smaller of equal ones.

    It depends on the records alone, not on the order in which runs finished.
    """
    scores = _validation(runs, evaluations) if any(arm.rates for arm in plan.arms) else {}
    found = []
    for arm in plan.arms:
        rates = sorted(arm.rates, key=float)
        seeds = dict.fromkeys(seed for own in arm.rates.values() for seed in own)
        for seed in sorted(seeds, key=int):
            names = {rate: arm.rates[rate].get(seed) for rate in rates}
            own = {rate: scores[name] for rate, name in names.items() if name in scores}
            missing = [rate for rate in rates if rate not in own]
            chosen, edge = (None, False) if missing else best_rate(own)
            found.append(SeedChoice(arm.label, seed, own, missing, chosen, edge))
    return found


def best_rate(scores: Mapping[str, float]) -> tuple[str, bool]:
    """Rate with the best score, the smaller of equal ones, and whether it alone is best and at an edge."""
    rates, most = sorted(scores, key=float), max(scores.values())
    best = [rate for rate in rates if scores[rate] == most]
    return best[0], len(best) == 1 and best[0] in (rates[0], rates[-1])


def _validation(runs: pd.DataFrame, evaluations: pd.DataFrame) -> dict[str | None, float]:
    """avg@k on validation of each finished run's judged checkpoint; of several tasks the first by name."""
    if evaluations.empty:
        return {}
    judged = runs[runs["status"] == "finished"].set_index("run_id")["checkpoint"]
    step = evaluations["run_id"].map(judged)
    rows = evaluations[(evaluations["split"] == SPLIT) & (evaluations["step"] == step)]
    rows = rows[rows["task"] == rows["task"].min()] if len(rows) else rows
    return dict(zip(rows["run_id"], rows["avg"].astype(float), strict=True))


def with_choices(
    plan: records.StudyRecord,
    runs: pd.DataFrame,
    evaluations: tuple[pd.DataFrame, pd.DataFrame],
    choices: Sequence[SeedChoice],
) -> tuple[records.StudyRecord, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Plan with `Arm.runs` filled in, and the frames (runs, evaluations of the main protocol and of others)
    with columns `tried_by`, `lr`, `chosen`.

    A run that was not chosen keeps its row, but its `arm` is None, so that it enters no table of arms:
    `tried_by` is the arm that tried it. Without a grid nothing changes.
    """
    import pandas as pd

    if not choices:
        return plan, runs, *evaluations
    by_arm: dict[str, dict[str, str]] = {}
    rates = {arm.label: arm.rates for arm in plan.arms}
    for choice in choices:
        if choice.chosen is not None:
            by_arm.setdefault(choice.arm, {})[choice.seed] = rates[choice.arm][choice.chosen][choice.seed]
    arms = [
        arm.model_copy(update={"runs": by_arm.get(arm.label, {})}) if arm.rates else arm for arm in plan.arms
    ]
    places, chosen = grid_places(plan), {name for own in by_arm.values() for name in own.values()}

    def marked(frame: pd.DataFrame) -> pd.DataFrame:
        if frame.empty:
            return frame
        place = [places.get(name) for name in frame["run_id"]]
        named = zip(place, frame["run_id"], frame["arm"], strict=True)
        columns: dict[str, list[Any]] = {
            "arm": [arm if p is None else p[0] if name in chosen else None for p, name, arm in named],
            "tried_by": [p and p[0] for p in place],
            "lr": [p and float(p[2]) for p in place],
            "chosen": [name in chosen for name in frame["run_id"]],
        }
        made = {k: pd.Series(v, index=frame.index, dtype=KINDS.get(k, object)) for k, v in columns.items()}
        return frame.assign(**made)

    chosen_plan = plan.model_copy(update={"arms": arms})
    return chosen_plan, marked(runs), marked(evaluations[0]), marked(evaluations[1])


def choice_notes(plan: records.StudyRecord, choices: Sequence[SeedChoice]) -> list[str]:
    """Seeds left out since a rate of their grid lacks a run, and arms whose choices or grids are odd."""
    arms_without: dict[tuple[str, str], list[str]] = {}
    for c in choices:
        if c.missing:
            arms_without.setdefault((c.seed, ", ".join(c.missing)), []).append(c.arm)
    notes = [
        f"{'; '.join(arms)}: seed {seed} is left out: trainer.lr={rates} has no finished run with an "
        "evaluation on validation there, and the best of fewer rates is another quantity"
        for (seed, rates), arms in arms_without.items()
    ]
    for arm in dict.fromkeys(c.arm for c in choices):
        mine = [c for c in choices if c.arm == arm and c.chosen is not None]
        if edges := [str(c.chosen) for c in mine if c.edge]:
            which = ", ".join(dict.fromkeys(edges))
            said = f"{arm}: {len(edges)} of {len(mine)} seeds chose a learning rate at the edge of the grid"
            notes.append(f"{said} ({which}), so that a better one may lie beyond")
    if len({tuple(sorted(arm.rates, key=float)) for arm in plan.arms}) > 1:
        notes.append("the arms tried different learning rates: launch again so that each has the same grid")
    return notes
