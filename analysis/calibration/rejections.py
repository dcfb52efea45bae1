"""How often an A/A study's own runs are told apart: every pair of arms, every subset of seeds.

The arms are alike in truth, so a sound test at 5 % rejects in 5 of 100. Tests of one study share runs: their
share scatters widely about 5 %, and `sound` says how far. A grid of rates at every seed also shows what a
pilot would have done: two of the seeds choose an arm's rate, and the others are compared at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from analysis.calibration.aa import paired
from analysis.calibration.worlds import Array
from analysis.stats.intervals import paired_t, welch_t
from analysis.study.contrasts import final_rows, primary_of
from analysis.study.draws import is_paired
from analysis.study.load import Study
from analysis.study.rates import best_rate
from analysis.study.response import Values, grid_values

SIZES = (3, 5, 6, 10)  # seeds a study
PILOT = 2  # seeds of a pilot
SOUND = 1000  # simulated studies
BySeed = Mapping[str, float]


def rejections(study: Study) -> list[dict[str, Any]]:
    """Share of tests that reject at 5 %, by how the rate was chosen and by the number of seeds."""
    primary = primary_of(study)
    arms: list[BySeed] = []
    for arm in study.record.arms:
        rows = final_rows(study, arm.label, primary.task)
        arms.append({seed: float(row[primary.metric]) for seed, row in rows.items()})
    seeds = _shared(arms)
    found = []
    for size in (n for n in SIZES if n <= len(seeds)):
        tests = [
            _rejects(study, a, b, subset)
            for a, b in combinations(arms, 2)
            for subset in combinations(seeds, size)
        ]
        found.append(_row(_choice(study), size, tests, len(arms), len(seeds)))
    if study.choices:
        by_arm, _ = grid_values(study.evaluations, study.runs, primary.task, primary.metric)
        found += _pooled(study, [by_arm[arm.label] for arm in study.record.arms if arm.label in by_arm])
    return found


def _choice(study: Study) -> str:
    if study.choices:
        return "rate chosen by each seed"
    return "rate chosen once by each arm's pilot" if study.record.pilot else "one rate for all"


def _shared(arms: Sequence[BySeed]) -> list[str]:
    return [s for s in (arms[0] if arms else {}) if all(s in arm for arm in arms)]


def _rejects(study: Study, a: BySeed, b: BySeed, seeds: Sequence[str]) -> bool:
    first, second = ([arm[s] for s in seeds] for arm in (a, b))
    interval = paired_t(np.subtract(second, first)) if is_paired(study) else welch_t(second, first)
    return interval.p_value is not None and interval.p_value <= 0.05


def _pooled(study: Study, arms: Sequence[Values]) -> list[dict[str, Any]]:
    """Every pair of seeds as a pilot, its choice of a rate for each arm, the other seeds as the study."""
    scores = _validation(study)
    whole = [arm for arm in arms if len(arm) == len(scores[0]) and len({len(v) for v in arm.values()}) == 1]
    if len(whole) < len(study.record.arms):  # an unfinished grid
        return []
    seeds = list(next(iter(arms[0].values())))
    found = []
    for size in (n for n in SIZES if n <= len(seeds) - PILOT):
        tests = [
            _rejects(study, a, b, subset)
            for pilot in combinations(seeds, PILOT)
            for a, b in combinations(list(_at_pilots_rates(arms, scores, pilot)), 2)
            for subset in combinations([s for s in seeds if s not in pilot], size)
        ]
        found.append(_row("rate chosen by two seeds for the others", size, tests, len(arms), len(seeds)))
    return found


def _validation(study: Study) -> list[dict[str, dict[str, float]]]:
    """Arm by arm: rate -> seed -> avg@k on validation."""
    found = []
    for arm in study.record.arms:
        own = [choice for choice in study.choices if choice.arm == arm.label]
        found.append(
            {rate: {c.seed: c.scores[rate] for c in own if rate in c.scores} for rate in sorted(arm.rates)}
        )
    return found


def _at_pilots_rates(
    arms: Sequence[Values], scores: Sequence[Mapping[str, BySeed]], pilot: Sequence[str]
) -> Iterator[BySeed]:
    """Each arm's test accuracies by seed at the rate with the best mean over the pilot's seeds."""
    for values, own in zip(arms, scores, strict=True):
        means = {rate: float(np.mean([by_seed[s] for s in pilot])) for rate, by_seed in own.items()}
        yield values[float(best_rate(means)[0])]


def _row(what: str, size: int, tests: Sequence[bool], arms: int, seeds: int) -> dict[str, Any]:
    return {
        "what": what,
        "seeds": size,
        "arms": arms,
        "tests": len(tests),
        "rejected": float(np.mean(tests)),
        "sound": sound(arms, seeds, size),
    }


@cache
def sound(arms: int, seeds: int, size: int) -> float:
    """Share of rejections that 95 of 100 studies of alike, normal, independent arms stay below."""
    rng = np.random.default_rng([arms, seeds, size])
    pairs = np.array(list(combinations(range(arms), 2)))
    subsets = np.array(list(combinations(range(seeds), size)))
    shares = []
    for _ in range(SOUND):
        y: Array = rng.standard_normal((arms, seeds))
        d = (y[pairs[:, 1]] - y[pairs[:, 0]])[:, subsets].reshape(-1, size)  # [pairs x subsets, size]
        shares.append(float((paired(d[:, :, None]) <= 0.05).mean()))
    return float(np.quantile(shares, 0.95))
