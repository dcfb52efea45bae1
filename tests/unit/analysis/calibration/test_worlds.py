"""What simulated studies are drawn from is what the committed studies show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.calibration import effects, samplings, verdicts
from analysis.calibration.worlds import RATES, World, grid_levels, problems, scores, standard

OLDER = Path(__file__).parents[1] / "older_studies"
WORLD = World()
FAMILIES = pd.read_csv(Path(effects.__file__).parents[1] / "report" / "aime_gen_mini_test.csv")["family"]


def grid(study: str, arm: str, step: int) -> np.ndarray:
    """Share of right samples by seed and test problem."""
    table = pd.read_csv(OLDER / study / "problems.csv")
    rows = table[(table["arm"] == arm) & (table["step"] == step) & (table["task"] == "aime_gen_test_k")]
    return np.array(
        [[int(x) / k for x in right.split()] for right, k in zip(rows["right"], rows["k"], strict=True)]
    )


def test_the_rate_curve_and_its_noise_are_those_of_the_pilots() -> None:
    pilot = json.loads((OLDER / "bridge" / "study.json").read_text())["pilot"]
    sft = next(row for row in pilot if row["arm"] == "sft")["tried"]
    assert WORLD.curve == pytest.approx([np.mean(list(sft[rate].values())) for rate in RATES], abs=6e-4)
    variances = []
    for study in ("bridge", "bridge_clean"):
        for row in json.loads((OLDER / study / "study.json").read_text())["pilot"]:
            low, high = row["tried"]["3e-05"], row["tried"]["0.0001"]
            variances.append(np.var([low[s] - high[s] for s in low], ddof=1))
    # A difference of two rates at one seed: what they do to a base, the runs, the samples of validation.
    rng = np.random.default_rng(0)
    levels, _ = grid_levels(WORLD, rng, [WORLD.curve], 20_000)
    drawn = scores(WORLD, rng, levels[0, :, 1:3], problems(WORLD, rng, (20_000, 1, 48))).mean(axis=-1)
    assert np.diff(drawn, axis=1).std() == pytest.approx(np.sqrt(np.mean(variances)), rel=0.15)


def test_bases_problems_and_pairs_spread_as_measured() -> None:
    base, sft, kl = (grid("bridge", arm, step) for arm, step in (("sft", 0), ("sft", 48), ("kl", 48)))
    assert WORLD.base == pytest.approx(base.mean(), abs=1e-3) and len(base[0]) == WORLD.test
    for measured, slack in ((base, 0.05), (sft, 0.3), (kl, 0.3)):
        factor = problems(WORLD, np.random.default_rng(1), (200_000,))
        p = np.minimum(1, measured.mean() * factor)  # what makes the error of sampling
        within = WORLD.k * (measured * (1 - measured)).mean() / (WORLD.k - 1)
        assert (p * (1 - p)).mean() == pytest.approx(within, rel=slack)
    # Two arms of one rate: 2 (run² + sampling), measured 0.8 to 1.5 points over the arms of bridge.
    pair = np.sqrt(2 * (WORLD.run_sd**2 + (p * (1 - p)).mean() / WORLD.k / WORLD.test))
    assert 0.008 < pair < 0.015
    gains = np.array([(arm - base).mean(axis=1) for arm in (sft, kl)])
    assert list(gains.mean(axis=1)) == pytest.approx(effects.GAINS, abs=1e-4)
    assert pytest.approx(np.cov(gains) * 1e4, abs=0.01) == effects.COVARIANCE * 1e4
    by_family = [(sft - base)[:, FAMILIES.eq(name)].mean() for name in sorted(set(FAMILIES))]
    parts = sorted(np.array(by_family) / gains[0].mean())
    assert sorted(verdicts.CARRIED) == pytest.approx(parts, abs=0.02) and max(parts) / 6 > 0.7
    assert samplings.BASE[0] == pytest.approx(base.mean(), abs=1e-3)
    assert samplings.SFT[0] == pytest.approx(sft.mean(), abs=1e-3)


@pytest.mark.parametrize("form", ["normal", "t4", "skewed"])
def test_effects_have_mean_0_and_sd_1(form: str) -> None:
    drawn = standard(np.random.default_rng(2), form, 400_000)
    assert drawn.mean() == pytest.approx(0, abs=0.01) and drawn.std() == pytest.approx(1, abs=0.03)
    skew = (drawn**3).mean()
    assert skew == pytest.approx(2, abs=0.2) if form == "skewed" else abs(skew) < 0.6


def test_scores_are_samples_of_the_level() -> None:
    rng = np.random.default_rng(3)
    difficulty = problems(WORLD, rng, (50_000,))
    assert scores(WORLD, rng, [0.1, 0.2], difficulty).mean(axis=1) == pytest.approx([0.1, 0.2], abs=2e-3)


def test_a_shared_base_moves_every_seed_alike() -> None:
    still = World(run_sd=0.0)
    for shared, expected in ((True, 1), (False, 4)):
        levels, bases = grid_levels(still, np.random.default_rng(4), [WORLD.curve] * 2, 4, shared_base=shared)
        assert len(set(bases)) == expected and len(set(levels[0, :, 2])) == expected
        assert (levels[0] == levels[1]).all()  # what a rate does to a base is shared by the arms of a seed
