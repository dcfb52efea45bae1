"""Verdicts on a committed study, from its CSV files by the rules of today.

Studies that declared a margin in points are judged by QUARTER: such a margin can exceed the whole gain.
QUARTER was not declared before those runs; it is narrower where the control gains less than 12 points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report.committed import Committed
from analysis.stats.contrast import Context, Judged, Measured, judged
from analysis.stats.families import Largest, largest_family, over_families
from analysis.stats.inference import holm
from analysis.stats.intervals import SEEDS, Interval, paired_t, welch_t
from analysis.stats.margins import Margin, size_of
from analysis.stats.sequential import Looks
from analysis.stats.verdict import Movement
from analysis.study.contrasts import CHAINS
from analysis.study.looks import looks_of
from analysis.study.stages import unchosen_stages, unchosen_text

QUARTER = Margin(0.25, of_gain=True)
# The problems of `aime_gen_mini`, split test, in order: references before problem_list.csv do not name them.
AIME_GEN_MINI = Path(__file__).with_name("aime_gen_mini_test.csv")
Pairs = Sequence[tuple[str, str]]


def families_of(study: Committed) -> list[str | None]:
    """Family of each problem of the primary task, in order; empty where it is not known."""
    listed = study.table("problem_list")
    if not listed.empty:
        return [None if pd.isna(name) else str(name) for name in listed["family"]]
    problems = study.table("problems")
    benchmarks = [b for b in study.config.get("eval.benchmarks") or [] if isinstance(b, dict)]
    presets = {b.get("name"): b.get("task") for b in benchmarks}
    asked = str(study.plan.get("primary", {}).get("split") or "test")
    preset = presets.get(asked, study.config.get("data.name") if asked == "test" else None)
    known = pd.read_csv(AIME_GEN_MINI)["family"].tolist()
    if (
        problems.empty
        or preset != "aime_gen_mini"
        or len(str(problems["right"].iloc[0]).split()) != len(known)
    ):
        return []
    return [str(name) for name in known]


def contrast_of(study: Committed, level: str, metric: str, factor: str | None = None) -> Judged | None:
    """The verdict on a level of a factor (None: the primary one) against the control.

    None where the study's files do not say.
    """
    factor = factor or study.factor
    pairs = pairs_of(study, factor, level)
    measured = _measured(study, pairs, metric)
    if measured is None:
        return None
    declared = study.plan.get("declared", {}).get("margin")
    margin = Margin.read(declared)
    level_of = float(study.plan["primary"].get("level", 0.95))
    context = Context(
        margin=margin if margin is None or margin.of_gain else QUARTER,
        level=level_of,
        unpaired=_unpaired(study, pairs, metric, level_of),
        p_value=_adjusted(study, metric).get((factor, level)),
        at_floor=all(_at_floor(study, arm, metric) for pair in pairs for arm in pair),
        hardly_moved=all(_movement(study, [pair[i] for pair in pairs]).hardly for i in (0, 1)),
        confounded=_confounded(
            study,
            [arm for side in zip(*pairs, strict=True) for arm in side],
            metric,
            list(measured.control_gains.values()),
        ),
        over_rates=_over_rates(study, pairs, metric),
        looks=_looks(study),
    )
    return judged(measured, context)


def _over_rates(study: Committed, pairs: Pairs, metric: str) -> Interval | None:
    """An arm's area under its learning rates less its control's, in a study of another measure than avg@k."""
    rows = study.table("rate_response")
    if rows.empty or metric == "avg" or metric != study.plan["primary"].get("metric") or len(pairs) != 1:
        return None
    own = rows[(rows["quantity"] == "area") & (rows["arm"] == pairs[0][0])].dropna(subset="difference_low")
    if own.empty:
        return None
    row = own.iloc[0]
    estimate, low, high = (float(row[f"difference_{end}"]) for end in ("estimate", "low", "high"))
    level = float(study.plan["primary"].get("level", 0.95))
    n = int(row["difference_n"])
    return Interval(estimate, low, high, level, None, None, None, n, "paired t", SEEDS)


def _confounded(
    study: Committed, arms: Sequence[str], metric: str, control_gains: Sequence[float]
) -> str | None:
    """Why a contrast of pipelines is not of its stages alone, from the runs of each stage."""
    stages: dict[str, list[tuple[str, list[str]]]] = {}
    for _, row in study.table("stages").iterrows():
        if row["index"] > 0:
            stages.setdefault(row["arm"], []).append((row["stage"], str(row["runs"]).split()))
    if not stages:
        return None
    rows = study.main_rows
    last = rows[(rows["step"] > 0) & rows[metric].notna()].groupby("run_id").tail(1)
    scores = {str(row["run_id"]): (str(row["seed"]), float(row[metric])) for _, row in last.iterrows()}
    margin = size_of(study.plan.get("declared", {}).get("margin"), control_gains)
    return unchosen_text(unchosen_stages(stages, scores, margin), arms)


def gain_families(study: Committed, arms: Sequence[str]) -> tuple[Interval, Largest | None, Interval] | None:
    """Mean avg@k gain of some arms: over seeds, its largest family, and with families as the unit."""
    grids, names = study.grids, families_of(study)
    if not names or any((arm, end) not in grids for arm in arms for end in (0, 1)):
        return None
    effects = _effects([(grids[arm, 1], grids[arm, 0]) for arm in arms])
    if effects is None:
        return None
    return paired_t(effects.mean(axis=1)), largest_family(effects, names), over_families(effects, names)


def right_by_family(study: Committed, arm: str) -> dict[str, Interval]:
    """Gain of an arm in avg@k on the problems of each family, over seeds; {} where families are not known."""
    grids, names = study.grids, families_of(study)
    if not any(names) or any((arm, end) not in grids for end in (0, 1)):
        return {}
    effects = _effects([(grids[arm, 1], grids[arm, 0])])
    if effects is None or effects.shape[1] != len(names):
        return {}
    columns = {name: [i for i, own in enumerate(names) if own == name] for name in names if name is not None}
    return {name: paired_t(effects[:, own].mean(axis=1)) for name, own in columns.items()}


def pairs_of(study: Committed, factor: str, level: str) -> list[tuple[str, str]]:
    """(arm, control) at each setting of the other factors."""
    control, arms = study.plan.get("control", {}).get(factor), study.plan.get("arms", ())
    labels = {tuple(sorted(a["levels"].items())): a["label"] for a in arms}
    found = [
        (a["label"], labels.get(tuple(sorted({**a["levels"], factor: control}.items()))))
        for a in arms
        if a["levels"].get(factor) == level != control
    ]
    return [(arm, other) for arm, other in found if other is not None]


def _measured(study: Committed, pairs: Pairs, metric: str) -> Measured | None:
    ends = study.accuracy
    if not pairs or any(arm not in ends for pair in pairs for arm in pair):
        return None
    if any(metric not in ends[arm].after for pair in pairs for arm in pair):
        return None
    differences = _mean([ends[a].after[metric] - ends[c].after[metric] for a, c in pairs])
    if not differences:
        return None
    gains = [_mean([ends[p[i]].after[metric] - ends[p[i]].before[metric] for p in pairs]) for i in (0, 1)]
    grids, names = study.grids, families_of(study)
    known = metric in ("avg", "pass") and names and all((a, 1) in grids for pair in pairs for a in pair)
    effects = _effects([(grids[a, 1], grids[c, 1]) for a, c in pairs], metric) if known else None
    return Measured(differences, gains[0], gains[1], effects, names if effects is not None else ())


def _unpaired(study: Committed, pairs: Pairs, metric: str, level: float = 0.95) -> Interval | None:
    """Welch's t over the two sides' seeds, in a study that declared that its seeds do not pair."""
    if study.plan.get("declared", {}).get("pairing") != "unpaired":
        return None
    sides = [_mean([study.accuracy[pair[i]].after[metric] for pair in pairs]) for i in (0, 1)]
    return welch_t(*(list(side.values()) for side in sides), level=level) if all(sides) else None


def _mean(columns: list[pd.Series[Any]]) -> dict[str, float]:
    """Seed -> mean over the columns, of seeds that all have."""
    means = pd.concat(columns, axis=1).dropna().mean(axis=1)
    return {str(seed): float(value) for seed, value in means.items()}


def _effects(
    cells: Sequence[tuple[Mapping[int, NDArray[np.float64]], Mapping[int, NDArray[np.float64]]]],
    metric: str = "avg",
) -> NDArray[np.float64] | None:
    """First minus second by seed and problem [S, P], mean over the cells."""
    seeds = [s for s in cells[0][0] if all(s in side for cell in cells for side in cell)]
    if not seeds:
        return None
    score = (lambda x: (x > 0).astype(float)) if metric == "pass" else (lambda x: x)
    return np.array([np.mean([score(a[s]) - score(b[s]) for a, b in cells], axis=0) for s in seeds])


def _adjusted(study: Committed, metric: str) -> dict[tuple[str, str], float]:
    """Holm over the declared family, else over all contrasts; of several factors, over all main effects."""
    factors = {f: levels for f, levels in study.plan["factors"].items() if len(levels) > 1}
    family = study.plan.get("declared", {}).get("family") or None
    p_values: dict[tuple[str, str], float] = {}
    looks = _looks(study)
    for factor, levels in factors.items():
        for level in levels:
            if len(factors) == 1 and family and level not in family:
                continue
            pairs = pairs_of(study, factor, level)
            measured = _measured(study, pairs, metric)
            if measured is None:
                continue
            found = _unpaired(study, pairs, metric) or paired_t(list(measured.differences.values()))
            if found.p_value is not None:
                p = found.p_value
                p_values[factor, level] = p if looks is None else looks.p_value(p, found.n)
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _looks(study: Committed) -> Looks | None:
    """The rule by which seeds were added, with its looks."""
    return looks_of(study.folder, study.plan.get("declared", {}), study.plan.get("primary", {}))


def _at_floor(study: Committed, arm: str, metric: str) -> bool:
    after = study.accuracy[arm].after
    column = "avg" if metric == "pass" else metric
    if column in after and metric in CHAINS:
        return bool(after[column].mean() <= 0)
    if column not in after or "best_constant" not in after:
        return False
    return bool(after[column].mean() <= after["best_constant"].mean())


def _movement(study: Committed, arms: Sequence[str]) -> Movement:
    """How far arms went from their bases: gain and its sampling error, and KL from kept.csv."""
    kept = study.table("kept")
    drift = None
    if "kept_kl_reverse" in kept:
        drift = float(kept[kept["arm"].isin(arms)]["kept_kl_reverse"].mean())
    ends = [study.accuracy[arm] for arm in arms]
    if any("se_sampling" not in e.after or "avg" not in e.after for e in ends):
        return Movement(None, drift=drift)
    gain, before, after = (
        float(np.mean(values))
        for values in (
            [(e.after["avg"] - e.before["avg"]).mean() for e in ends],
            [e.before["se_sampling"].mean() for e in ends],
            [e.after["se_sampling"].mean() for e in ends],
        )
    )
    return Movement(gain, before, after, drift)
