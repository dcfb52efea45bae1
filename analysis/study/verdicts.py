"""The verdict on each contrast of the primary factor: in the primary measure, greedy and pass@k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.stats.contrast import Context, Judged, Measured, judged
from analysis.stats.intervals import Interval
from analysis.stats.margins import Margin, size_of
from analysis.stats.verdict import Movement
from analysis.study.contrasts import (
    ArmResult,
    Primary,
    arm_results,
    at_floor,
    declared,
    final_rows,
    has,
    primary_of,
    what_varies,
)
from analysis.study.draws import is_paired
from analysis.study.families import Cells, by_seed, over_base, problem_effects
from analysis.study.headlines import contrast_pairs, primary_headlines
from analysis.study.kept import retention_values
from analysis.study.load import Study
from analysis.study.pairs import plain_contrast
from analysis.study.response import study_responses
from analysis.study.stages import stage_rows, stages_of, unchosen_stages, unchosen_text

MEASURES = ("avg", "greedy", "pass")
Drift = Mapping[str, Mapping[str, float]]  # arm -> seed -> KL(policy‖base), nats a token


@dataclass(frozen=True)
class ContrastVerdict:
    """One level of the primary factor against the control level; `measures` has the primary one first."""

    factor: str
    level: str
    control: str
    cells: int
    measures: dict[str, Judged]

    @property
    def primary(self) -> Judged:
        return next(iter(self.measures.values()))


def contrast_verdicts(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[ContrastVerdict]:
    """Every contrast of the primary factor that has a finished seed, the declared one first."""
    found: dict[str, ContrastVerdict] = {}
    drift = retention_values(study, "kept_kl_reverse")
    for metric in dict.fromkeys((primary.metric, *MEASURES)):
        asked = replace(primary, metric=metric)
        own = list(results) if metric == primary.metric else arm_results(study, asked)
        for h in primary_headlines(study, asked, own):
            if h.difference is None or (metric != primary.metric and h.level not in found):
                continue
            found_here = ContrastVerdict(h.factor, h.level, h.control, h.cells, {})
            pairs = contrast_pairs(study, h.factor, h.level)
            judged_here = judged_pairs(study, asked, pairs, p_value=h.p_holm, drift=drift)
            if judged_here is not None:
                found.setdefault(h.level, found_here).measures[metric] = judged_here
    return list(found.values())


def arm_words(contrasts: Sequence[ContrastVerdict], results: Sequence[ArmResult]) -> dict[str, str]:
    """Arm -> the verdict's word in the primary measure, where a contrast is that of a single arm."""
    words = {(c.factor, c.level): c.primary.verdict.word for c in contrasts if c.cells == 1}
    return {r.label: words[k] for r in results if r.control for k in r.levels.items() if k in words}


def judged_pairs(
    study: Study,
    primary: Primary,
    pairs: Sequence[tuple[str, str]],
    *,
    p_value: float | None = None,
    drift: Drift | None = None,
) -> Judged | None:
    """Arms against the arms they are compared with, averaged over the pairs; None without a shared seed.

    The margin, the floor and how far arms moved are those of the pairs. `p_value` is the adjusted one.
    """
    task, metric, drift = primary.task, primary.metric, drift or {}
    arms, controls = ([pair[i] for pair in pairs] for i in (0, 1))
    cells = [(final_rows(study, a, task), final_rows(study, c, task)) for a, c in pairs]
    arm_cells, control_cells = (over_base(study, labels, task) for labels in (arms, controls))
    differences = by_seed(cells, metric)
    if not differences:
        return None
    effects, families = problem_effects(cells, metric)
    measured = Measured(
        differences=differences,
        arm_gains=by_seed(arm_cells, metric),
        control_gains=by_seed(control_cells, metric),
        effects=effects,
        families=families,
    )
    sides = ((arm_cells, arms), (control_cells, controls))
    context = Context(
        margin=Margin.read(declared(study).get("margin")),
        level=primary.level,
        varies=what_varies(study),
        p_value=p_value,
        unpaired=None if is_paired(study) else plain_contrast(study, cells, metric, level=primary.level),
        looks=study.looks,
        at_floor=all(at_floor(rows, metric) for pair in cells for rows in pair),
        hardly_moved=all(_movement(own, [drift.get(a, {}) for a in labels]).hardly for own, labels in sides),
        confounded=_confounded(study, [*arms, *controls], primary, list(measured.control_gains.values())),
        over_rates=_over_rates(study, primary, pairs),
    )
    return judged(measured, context)


def _over_rates(study: Study, primary: Primary, pairs: Sequence[tuple[str, str]]) -> Interval | None:
    """Area under its learning rates less the control's, where avg@k chose and another measure judges."""
    if not study.choices or len(pairs) != 1 or primary.metric in ("avg", *_beside(study)):
        return None
    found = {r.arm: r for r in study_responses(study, primary)}.get(pairs[0][0])
    return found.difference if found is not None and found.control == pairs[0][1] else None


def _beside(study: Study) -> set[str]:
    """Measures that stand beside the one that the study was declared for."""
    return set(MEASURES) - {primary_of(study).metric}


def _confounded(
    study: Study, arms: Sequence[str], primary: Primary, control_gains: Sequence[float]
) -> str | None:
    """Why a contrast of pipelines is not of its stages alone."""
    if all(config.get("stage.start") is None for config in study.configs.values()):
        return None  # no pipelines: this is asked for every contrast and measure
    stages = {arm.label: stages_of(study, arm.label) for arm in study.record.arms}
    runs = {arm: [(stage.name, list(stage.runs.values())) for stage in own] for arm, own in stages.items()}
    scores = {
        str(row["run_id"]): (seed, float(row[primary.metric]))
        for stage in (stage for own in stages.values() for stage in own)
        for seed, row in stage_rows(study, stage, primary.task).items()
        if has(row, primary.metric)
    }
    margin = size_of(declared(study).get("margin"), control_gains)
    return unchosen_text(unchosen_stages(runs, scores, margin), arms)


def _movement(cells: Cells, drifts: Sequence[Mapping[str, float]]) -> Movement:
    """How far the arms of one side went from their bases, mean over cells and seeds."""
    gains = list(by_seed(cells, "avg").values())
    before, after = (
        [float(row["se_sampling"]) for pair in cells for row in pair[i].values() if has(row, "se_sampling")]
        for i in (1, 0)
    )
    kept = [value for drift in drifts for value in drift.values()]
    return Movement(*(float(np.mean(known)) if known else None for known in (gains, before, after, kept)))
