"""The comparison: primary metric, each arm's control, differences paired by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.stats.inference import holm
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.metrics import decompose_shares
from analysis.study.draws import what_varies as what_varies
from analysis.study.evaluations import BEST
from analysis.study.load import Study
from analysis.study.pairs import Rows as Rows
from analysis.study.pairs import contrast as contrast
from analysis.study.pairs import crossed as crossed
from analysis.study.pairs import has as has
from analysis.study.pairs import paired as paired
from analysis.study.pairs import shared_seeds as shared_seeds
from analysis.study.stages import mean_total

if TYPE_CHECKING:
    import pandas as pd

CRITERIA = ("difference", "gain")
METRICS = {
    "avg": "avg@k",
    "greedy": "greedy",
    "maj": "maj@k",
    "pass": "pass@k",
    "chain": "valid chains@k",
    "chain_pass": "pass@k by valid chains",
}
CHAINS = ("chain", "chain_pass")  # measures of derivations, not of answers
FLAG_TEXT = {
    "no_reward_variance": "no reward variance",
    "all_truncated": "everything truncated",
    "non_finite_gradients": "gradients not finite",
    "no_updates": "no updates",
}


@dataclass(frozen=True)
class Primary:
    """The declared comparison. `metric` is a column of `evaluations`, `factor` what differences are taken
    over. By the criterion `gain` the answer is each level's gain over its base, else its difference to the
    control."""

    factor: str | None
    task: str
    metric: str
    level: float
    declared: bool
    criterion: str = "difference"


@dataclass(frozen=True)
class ArmResult:
    """An arm's numbers over its finished runs. Accuracies in [0, 1]; differences are arm minus control."""

    label: str
    levels: dict[str, str]
    seeds: list[str]
    run_ids: list[str]
    estimate: Interval | None
    base: float | None
    gain: Interval | None
    control: str | None
    difference: Interval | None
    crossed: Interval | None
    p_holm: float | None
    means: dict[str, float | None]
    choice: Interval | None
    skill: Interval | None
    flags: list[str]


def primary_of(study: Study) -> Primary:
    """Read study.json's `primary`: factor, task or split, metric, level, criterion.

    Defaults: first factor, test split, avg, 0.95, difference. Raises ValueError when nothing was evaluated,
    or what is declared does not exist.
    """
    declared = study.record.primary
    task = _primary_task(study)
    metric = str(declared.get("metric", "avg")).split("@")[0]
    criterion = str(declared.get("criterion", "difference"))
    for name, value, known in (("metric", metric, METRICS), ("criterion", criterion, CRITERIA)):
        if value not in known:
            raise ValueError(f"primary {name} {value!r} is not known; choose one of {', '.join(known)}")
    factors = list(study.record.factors)
    factor = primary_factor(study)
    if factor is not None and factor not in factors:
        raise ValueError(f"primary factor {factor!r} is not one of the study's: {', '.join(factors)}")
    level = float(declared.get("level", 0.95))
    if not 0 < level < 1:
        raise ValueError(f"primary level {level:g}: must lie between 0 and 1, as 0.95 does")
    return Primary(factor, task, metric, level, bool(declared), criterion)


def primary_factor(study: Study) -> str | None:
    """The declared primary factor, else the first."""
    return study.record.primary.get("factor") or next(iter(study.record.factors), None)


def _primary_task(study: Study) -> str:
    """The declared task, or first task of the declared split; by default of the test split, or any."""
    tasks = evaluated_tasks(study)
    if not tasks:
        raise ValueError(f"{study.folder}: no readable evaluation; finish a run, or evaluate its checkpoints")
    declared = study.record.primary
    wanted = declared.get("task") or declared.get("split")
    named = [task for task, split in tasks.items() if (wanted or "test") in (task, split)]
    if not named and ("task" in declared or "split" in declared):
        shown = wanted or "test"
        raise ValueError(f"primary task {shown!r} was not evaluated; evaluated: {', '.join(tasks)}")
    return named[0] if named else next(iter(tasks))


def declared(study: Study) -> dict[str, Any]:
    """Read what the ablation declared beside its primary contrast: `family`, `margin`, `fixed`."""
    return getattr(study.record, "declared", None) or {}


def evaluated_tasks(study: Study) -> dict[str, str]:
    """Task -> split, in order of evaluation. Tasks measured on the base alone are left out."""
    if study.evaluations.empty:
        return {}
    trained = study.evaluations[study.evaluations["step"] > 0]
    pairs = trained[["task", "split"]].drop_duplicates()
    return dict(zip(pairs["task"], pairs["split"], strict=True))


def final_rows(study: Study, label: str, task: str, *, base: bool = False) -> dict[str, pd.Series[Any]]:
    """Seed -> evaluation of the checkpoint that a finished run of the arm is judged by, or of its base."""
    return study.final_rows.get((label, task, base), {})


def control_of(study: Study, levels: Mapping[str, str], factor: str | None) -> str | None:
    """The arm that differs from `levels` in the primary factor alone, at its control level."""
    if factor is None or factor not in study.record.control:
        return None
    wanted = {**levels, factor: study.record.control[factor]}
    if wanted == dict(levels):
        return None
    return next((arm.label for arm in study.record.arms if arm.levels == wanted), None)


def arm_results(study: Study, primary: Primary) -> list[ArmResult]:
    """Every planned arm, dead and empty ones included, with Holm over the differences to controls.

    The family is what the study declares, levels of the primary factor; all differences where it does not.
    """
    family = declared(study).get("family") or None
    results = [_arm_result(study, primary, arm.label, arm.levels) for arm in study.record.arms]
    tested = {
        i: r.difference.p_value
        for i, r in enumerate(results)
        if r.difference
        and r.difference.p_value is not None
        and (family is None or r.levels.get(primary.factor or "") in family)
    }
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [ArmResult(**{**vars(r), "p_holm": adjusted.get(i)}) for i, r in enumerate(results)]


def _arm_result(study: Study, primary: Primary, label: str, levels: dict[str, str]) -> ArmResult:
    varies, level, metric = what_varies(study), primary.level, primary.metric
    rows, base = final_rows(study, label, primary.task), final_rows(study, label, primary.task, base=True)
    control = control_of(study, levels, primary.factor)
    against = final_rows(study, control, primary.task) if control else {}
    values = [float(r[metric]) for r in rows.values() if has(r, metric)]
    runs = study.finished[study.finished["arm"] == label]
    parts = [
        decompose_shares(base[s]["shares"], rows[s]["shares"]) for s in shared_seeds([(rows, base)], "avg")
    ]
    return ArmResult(
        label=label,
        levels=levels,
        seeds=[s for s in rows if has(rows[s], metric)],
        run_ids=[str(r) for r in runs["run_id"]],
        estimate=paired_t(values, level=level, varies=varies) if values else None,
        base=mean_of(base, metric),
        gain=paired(rows, base, metric, level=level, varies=varies),
        control=control,
        difference=contrast(study, [(rows, against)], metric, level=level),
        crossed=crossed(study, rows, against, level=level),
        p_holm=None,
        means=_means(study, rows, runs),
        choice=paired_t([p.from_choice for p in parts], level=level, varies=varies) if parts else None,
        skill=paired_t([p.from_skill for p in parts], level=level, varies=varies) if parts else None,
        flags=_flags(study, label, rows, metric),
    )


def _means(study: Study, rows: Rows, runs: pd.DataFrame) -> dict[str, float | None]:
    """Means over seeds of the secondary measures and of compute spent, over all stages of a pipeline."""
    names = (
        "avg",
        "greedy",
        "maj",
        "pass",
        "share_direct",
        "accuracy_stepped",
        "step_validity",
        "length",
        "right_wrong_step",
        "wrong_right_steps",
        "truncated",
        "best_constant",
        "se_sampling",
        "se_problems",
        "k",
        "n_problems",
        *BEST,
    )
    means: dict[str, float | None] = {}
    for name in names:
        values = [float(r[name]) for r in rows.values() if has(r, name)]
        means[name] = float(np.mean(values)) if values else None
    for name in ("sampled_tokens", "trained_tokens", "flops", "seconds", "gpu_seconds"):
        means[name] = mean_total(study, list(map(str, runs["run_id"])), name)
    return means


def at_floor(rows: Rows, metric: str) -> bool:
    """True if the arm's mean is not above the best constant answer; of pass@k, its avg@k.

    A constant answer has no steps, so that of valid chains the floor is 0.
    """
    name = "avg" if metric == "pass" else metric
    known = [row for row in rows.values() if has(row, name)]
    constant = 0.0 if metric in CHAINS else sum(float(row["best_constant"]) for row in known)
    return sum(float(row[name]) for row in known) <= constant


def _flags(study: Study, label: str, rows: Rows, metric: str) -> list[str]:
    runs = study.runs[study.runs["arm"] == label]
    flags = sorted({FLAG_TEXT.get(flag, flag) for flags in runs["flags"] for flag in flags})
    steps = study.steps[study.steps["arm"] == label]
    if len(steps) and "reward" in steps and not np.isfinite(steps["reward"].astype(float)).all():
        flags.append("NaN reward")
    if rows and all(r["truncated"] == 1 for r in rows.values()) and FLAG_TEXT["all_truncated"] not in flags:
        flags.append("everything truncated in evaluation")
    if any(has(r, metric) for r in rows.values()) and at_floor(rows, metric):
        flags.append("no valid chain" if metric in CHAINS else "not above the best constant answer")
    if len(runs) and not len(rows):
        flags.append("no finished, evaluated run")
    return flags


def mean_of(rows: Rows, name: str) -> float | None:
    """Mean over the seeds that have the value."""
    values = [float(r[name]) for r in rows.values() if has(r, name)]
    return float(np.mean(values)) if values else None
