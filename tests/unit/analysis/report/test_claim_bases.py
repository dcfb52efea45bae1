"""Each word on studies of bases of equal accuracy, from constructed studies: by kind of problems, by size."""

from __future__ import annotations

from math import exp, log
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report.claim_bases import by_kind, with_parameters
from analysis.report.claims import claims_section
from analysis.report.committed import Committed
from tests.unit.analysis.report.test_claims import NOISE, SEEDS, accuracies, committed, sizes

STEPS = (25, 50, 100, 200, 400, 800, 1600)


def at_odds(slope: float, step: int, start: float) -> float:
    """A share whose log odds rise by `slope` with each doubling from 25 steps on."""
    odds = log(start / (1 - start)) + slope * log(step / 25, 2)
    return 1 / (1 + exp(-odds))


def sampled_at(study: Committed, best: dict[str, dict[int, float]]) -> Committed:
    """Rows at temperature 0.5 beside those at 1, better on validation: `best` by arm and step, with noise."""
    rows = pd.read_csv(study.folder / "evaluations.csv")
    rows = rows.assign(temperature=1.0, top_p=1.0, main=True, n_problems=200)
    noise = [[NOISE[s] * (place + 1) ** 2 / 5 for s in SEEDS] for place in range(len(best))]
    cooler = pd.DataFrame(
        {"arm": arm, "seed": seed, "step": step, "task": "t", "split": "test", "avg": value + own[seed]}
        for own, (arm, by_step) in zip(noise, best.items(), strict=True)
        for step, value in by_step.items()
        for seed in SEEDS
    ).assign(temperature=0.5, top_p=1.0, main=False, n_problems=200)
    hot, cold = (f.assign(task="v", split="validation", avg=v) for f, v in ((rows, 0.3), (cooler, 0.4)))
    pd.concat([rows, cooler, hot, cold]).to_csv(study.folder / "evaluations.csv", index=False)
    return Committed.read(study.folder)


def kinds(
    folder: Path,
    slopes: tuple[float, float],
    greedy: tuple[float, float] | None = None,
    *,
    base: float = 0.3,
    steps: tuple[int, ...] = STEPS,
    models: tuple[str, ...] = ("xs",),
) -> Committed:
    """GRPO and SFT on both kinds; `slopes` of reasoning and general at own best temperature, of GRPO.

    SFT has the opposite slopes: it decides nothing.
    """
    own = dict(zip(("reasoning", "general"), slopes, strict=True))
    also = dict(zip(("reasoning", "general"), greedy or slopes, strict=True))
    arms: dict[str, Any] = {}
    best: dict[str, dict[int, float]] = {}
    for model in models:
        for objective in ("sft_rejection", "grpo"):
            for kind in own:
                sign, label = (1 if objective == "grpo" else -1), f"{kind}, {objective}, {model}"
                rows = [(s, accuracies(0.2, at_odds(sign * also[kind], s, 0.3))) for s in steps]
                levels = {"kind": kind, "objective": objective, "model": model}
                arms[label] = (levels, [(0, accuracies(0.2, base)), *rows])
                best[label] = {s: at_odds(sign * own[kind], s, 0.3) for s in steps}
    factors = {"objective": ["sft_rejection", "grpo"], "kind": list(own), "model": list(models)}
    control = {"kind": "general", "objective": "sft_rejection", "model": models[0]}
    return sampled_at(committed(folder, factors, control, arms), best)


@pytest.mark.parametrize(
    ("slopes", "greedy", "word"),
    [
        ((0.3, 0.05), None, "supported"),
        ((0.3, 0.27), None, "undecided"),  # above, and not by a quarter of 0.3
        ((0.1, 0.3), None, "refuted"),
        ((-0.1, -0.3), None, "undecided"),  # reasoning does not improve
        ((0.3, 0.05), (0.1, 0.3), "undecided"),  # greedy answers say the opposite
        ((0.1, 0.3), (0.3, 0.1), "undecided"),
    ],
)
def test_every_word_on_steps_by_kind(
    tmp_path: Path, slopes: tuple[float, float], greedy: tuple[float, float] | None, word: str
) -> None:
    said = by_kind([kinds(tmp_path / "steps_by_kind", slopes, greedy)])
    assert said is not None and said[0] == word
    shown = f"{slopes[0]:+.2f} [".replace("-", "−")
    assert f"With `grpo, xs` twice the steps add {shown}" in said[1] and "sft" not in said[1]


def test_slopes_are_those_of_the_last_three_octaves(tmp_path: Path) -> None:
    study = kinds(tmp_path / "s", (0.3, 0.05))
    rows = pd.read_csv(study.folder / "evaluations.csv")
    early = (rows["step"] > 0) & (rows["step"] < 200)
    rows.loc[early, "avg"] = 0.99
    rows.loc[early, "greedy"] = 0.99
    rows.to_csv(study.folder / "evaluations.csv", index=False)
    assert by_kind([Committed.read(study.folder)]) == by_kind([kinds(tmp_path / "again", (0.3, 0.05))])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"base": 0.34}, "the bases of reasoning are at 34.0 % in greedy answers, not at 30 ± 3"),
        ({"base": 0.26}, "at 26.0 %"),
        ({"steps": (400, 800, 1600)}, "fewer than four seeds have four checkpoints"),
    ],
)
def test_where_nothing_is_compared_the_study_cannot_tell(
    tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    said = by_kind([kinds(tmp_path / "s", (0.3, 0.05), **more)])
    assert said is not None and said[0] == "this study cannot tell" and reason in said[1]


def test_every_size_has_to_say_the_same(tmp_path: Path) -> None:
    study = kinds(tmp_path / "s", (0.3, 0.05), models=("xs", "m"))
    both = by_kind([study])
    assert both is not None and both[0] == "supported" and "`grpo, m`" in both[1]
    rows = pd.read_csv(study.folder / "evaluations.csv")
    own = (rows["arm"] == "general, grpo, m") & (rows["step"] > 0) & ~rows["main"] & (rows["task"] == "t")
    rows.loc[own, "avg"] = [
        at_odds(0.6, s, 0.3) + NOISE[k] for s, k in zip(rows[own]["step"], rows[own]["seed"], strict=True)
    ]
    rows.to_csv(study.folder / "evaluations.csv", index=False)
    apart = by_kind([Committed.read(study.folder)])
    assert apart is not None and apart[0] == "undecided"


def test_one_kind_alone_says_nothing(tmp_path: Path) -> None:
    study = kinds(tmp_path / "s", (0.3, 0.05))
    rows = pd.read_csv(study.folder / "evaluations.csv")
    rows[~rows["arm"].str.startswith("general")].to_csv(study.folder / "evaluations.csv", index=False)
    assert by_kind([Committed.read(study.folder)]) is None


PARAMETERS = (200_000, 2_000_000, 20_000_000)


def by_size(
    folder: Path,
    gains: tuple[float, ...],
    greedy: tuple[float, ...] = (0.0, 0.0, 0.0),
    *,
    base: float = 0.35,
    half: float = 1.0,
) -> Committed:
    """GRPO and SFT at three sizes, with gains at own best temperatures and in samples.

    A share `half` of them is made by half of the steps. A base's rows at temperature 0.5 stand at SFT alone.
    """
    arms: dict[str, Any] = {}
    best: dict[str, dict[int, float]] = {}
    for model, gain, other in zip(("s", "m", "l"), gains, greedy, strict=True):
        for objective in ("grpo", "sft_rejection"):
            levels, label = {"objective": objective, "model": model}, f"{objective}, {model}"
            ends = [(400, accuracies(0.2 + half * gain, base)), (800, accuracies(0.2 + gain, base + other))]
            arms[label] = (levels, [(0, accuracies(0.2, base)), *ends])
            best[label] = {800: 0.3 + gain} | ({0: 0.3} if objective == "sft_rejection" else {})
    factors = {"objective": ["grpo", "sft_rejection"], "model": ["s", "m", "l"]}
    study = committed(folder, factors, {"objective": "grpo", "model": "s"}, arms)
    trends = {"factor": "model (parameters)", "levels": " ".join(map(str, PARAMETERS))}
    pd.DataFrame([trends]).to_csv(folder / "trends.csv", index=False)
    return sampled_at(study, best)


@pytest.mark.parametrize(
    ("gains", "greedy", "word"),
    [
        ((0.05, 0.10, 0.15), (0.0, 0.0, 0.0), "supported"),  # 5 points a decade, the mean gain is 10
        ((0.09, 0.10, 0.11), (0.0, 0.0, 0.0), "refuted"),  # 1 point is less than 2.5
        ((0.15, 0.10, 0.05), (0.0, 0.0, 0.0), "refuted"),
        ((0.075, 0.10, 0.125), (0.0, 0.0, 0.0), "undecided"),
        ((0.05, 0.10, 0.15), (0.05, 0.0, -0.05), "undecided"),  # greedy answers say the opposite
        ((0.09, 0.10, 0.11), (0.0, 0.05, 0.10), "undecided"),
        ((-0.05, -0.06, -0.07), (0.0, 0.0, 0.0), "this study cannot tell"),  # no gain that could grow
    ],
)
def test_every_word_on_size(
    tmp_path: Path, gains: tuple[float, ...], greedy: tuple[float, ...], word: str
) -> None:
    study = by_size(tmp_path / "size", gains, greedy)
    said = with_parameters([study])
    assert said is not None and said[0] == word
    mean, slope = 100 * sum(gains) / 3, 50 * (gains[2] - gains[0])
    assert f"GRPO gains {mean:+.1f} [".replace("-", "−") in said[1]
    assert f"Ten times the parameters add {slope:+.1f} [".replace("-", "−") in said[1]
    assert f"makes the gain: {word}.** " in "".join(claims_section([study]))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"base": 0.39}, "the bases of 0.2M are at 39.0 % in greedy answers, not at 35 ± 3"),
        ({"half": 0.6}, "0.2M has not come to a plateau"),
    ],
)
def test_unequal_bases_and_runs_that_still_rise_cannot_tell(
    tmp_path: Path, more: dict[str, float], reason: str
) -> None:
    said = with_parameters([by_size(tmp_path / "size", (0.05, 0.1, 0.15), **more)])
    assert said is not None and said[0] == "this study cannot tell" and reason in said[1]


def test_without_it_the_study_of_equal_documents_decides(tmp_path: Path) -> None:
    study = sizes(tmp_path / "model_size", {"10": (0.03, 0.02), "100": (0.06, 0.04), "1000": (0.09, 0.06)})
    plan = study.folder / "study.json"
    plan.write_text(plan.read_text().replace("data.num_distinct", "model"))
    said = with_parameters([Committed.read(study.folder)])
    assert said is not None and said[0] == "supported" and "`other=a`" in said[1]
