"""Own best temperature, chosen by each seed on validation, and the share of a gain that is sharpening."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from analysis.calibration.choices import TRUTH, tested, validated
from analysis.calibration.scenario import Hits, Scenario, holds
from analysis.calibration.worlds import Array, World, standard
from analysis.stats.intervals import paired_t
from analysis.stats.ratio import UNBOUNDED, ratio_of_means
from analysis.study.anatomy import best_sampling

WORLD = World(run_sd=0.006)
SAMPLINGS = ((1.0, 1.0), (0.7, 1.0), (0.5, 1.0), (0.3, 1.0))  # temperature, top-p; the first is the main one
BASE = (0.139, 0.195, 0.230, 0.271)  # bridge's base and sft at these temperatures
SFT = (0.196, 0.236, 0.254, 0.265)
ALIKE = (0.2,) * 4


def scenarios() -> Iterator[Scenario]:
    """Rows on own best temperatures."""
    for seeds in (6, 10):
        yield _gain_at_best("sft as measured", SFT, BASE, seeds)
    yield _gain_at_best("no training, temperatures alike", ALIKE, ALIKE, 6)
    for seeds in (4, 6, 10):
        yield _sharpening(seeds)


def _at_best(
    rng: np.random.Generator, means: tuple[tuple[float, ...], ...], seeds: int
) -> tuple[Array, Array]:
    """True accuracies [models, S] at the main sampling, and at each model's own best on validation."""
    base = WORLD.base_sd * standard(rng, WORLD.form, (1, seeds, 1))
    own = WORLD.run_sd * standard(rng, WORLD.form, (len(means), seeds, len(SAMPLINGS)))
    levels = np.clip(np.array(means)[:, None, :] + base + own, 0.001, 0.9)
    validation = validated(WORLD, rng, levels)
    best = np.empty(levels.shape[:2])
    for m, s in np.ndindex(best.shape):
        chosen = best_sampling(dict(zip(SAMPLINGS, validation[m, s], strict=True)), main=SAMPLINGS[0])
        best[m, s] = levels[m, s, SAMPLINGS.index(chosen)]
    return levels[:, :, 0], best


@cache
def _truth(means: tuple[tuple[float, ...], ...]) -> tuple[float, float]:
    """Mean gains over the base, the first model, at the main and at own best samplings."""
    main, best = _at_best(np.random.default_rng(TRUTH), means, TRUTH)
    return float((main[1] - main[0]).mean()), float((best[1] - best[0]).mean())


def _gain_at_best(what: str, arm: tuple[float, ...], base: tuple[float, ...], seeds: int) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        _, best = _at_best(rng, (base, arm), seeds)
        before, after = tested(WORLD, rng, [best])[0]
        return [holds(paired_t(after - before), _truth((base, arm))[1])]

    return Scenario(
        what=f"temperature per seed: gain at own best, {seeds} seeds, {what}",
        kind="paired t",
        asks="coverage",
        trial=trial,
        settings={"seeds": seeds, "arm": list(arm), "base": list(base)},
    )


def _sharpening(seeds: int) -> Scenario:
    def trial(rng: np.random.Generator) -> Hits:
        main, best = _at_best(rng, (BASE, SFT), seeds)
        at_main, at_best = tested(WORLD, rng, [main, best])
        gain, left = at_main[1] - at_main[0], at_best[1] - at_best[0]
        found = ratio_of_means(gain - left, gain)
        gained, kept = _truth((BASE, SFT))
        if found is not None and found.reason == UNBOUNDED:
            return [None]
        return [holds(found, (gained - kept) / gained)]

    return Scenario(
        what=f"temperature per seed: sharpening share, {seeds} seeds, sft as measured",
        kind="Fieller",
        asks="coverage",
        trial=trial,
        settings={"seeds": seeds, "arm": list(SFT), "base": list(BASE)},
    )
