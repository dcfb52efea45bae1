"""Each word that a rule can give is reached by a constructed study; a claim without one is not run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from analysis.report import claim_rules
from analysis.report.claims import CLAIMS, claims_section
from analysis.report.committed import Committed

SEEDS = range(6)
NOISE = (0.001, -0.001, 0.002, -0.002, 0.0005, -0.0005)  # by seed; sums to 0
Ends = Mapping[str, tuple[float, float]]  # metric -> before, after


def committed(
    folder: Path,
    factors: dict[str, list[str]],
    control: dict[str, str],
    arms: dict[str, tuple[dict[str, str], list[tuple[int, dict[str, float]]]]],
    *,
    seeds: int = 6,
) -> Committed:
    """A committed study; `arms`: label -> (levels, (step, accuracies)). Noise differs by arm and step."""
    folder.mkdir()
    plan = {
        "factors": factors,
        "control": control,
        "primary": {"factor": next(iter(factors)), "split": "test", "metric": "avg"},
        "declared": {"margin": {"share": 0.25}, "draws": "per_seed"},
        "arms": [{"label": label, "levels": levels} for label, (levels, _) in arms.items()],
    }
    (folder / "study.json").write_text(json.dumps(plan))
    finding = {"question": "Does it?", "answer": "yes", "seeds": seeds}
    (folder / "finding.json").write_text(json.dumps(finding))
    rows = [
        {"arm": label, "seed": seed, "step": step, "task": "t", "split": "test"}
        | {name: value + (place + 1) * (number + 1) * NOISE[seed] for name, value in values.items()}
        for place, (label, (_, steps)) in enumerate(arms.items())
        for number, (step, values) in enumerate(steps)
        for seed in SEEDS
    ]
    pd.DataFrame(rows).to_csv(folder / "evaluations.csv", index=False)
    return Committed.read(folder)


def accuracies(avg: float, greedy: float = 0.5) -> dict[str, float]:
    return {"avg": avg, "greedy": greedy, "pass": 0.8}


BASE = (0, accuracies(0.2))


def conservative(folder: Path, *, clip: float, kl: float) -> Committed:
    """A control that gains 10 points; `clip` and `kl` are what each adds to it."""
    arms = {
        f"{c}, {k}": (
            {"clip": c, "kl": k},
            [BASE, (24, accuracies(0.3 + clip * (c != "none") + kl * (k != "none")))],
        )
        for c in ("none", "0.2")
        for k in ("none", "0.04")
    }
    factors = {"clip": ["none", "0.2"], "kl": ["none", "0.04"]}
    return committed(folder, factors, {"clip": "none", "kl": "none"}, arms)


@pytest.mark.parametrize(
    "clip, kl, word",
    [
        (0.01, 0.0, "refuted at temperature 1"),  # 1 point, within a quarter of 10
        (0.05, 0.0, "supported at temperature 1"),
        (0.0, 0.05, "supported at temperature 1"),
        (-0.05, 0.0, "refuted at temperature 1"),
    ],
)
def test_a_conservative_objective(tmp_path: Path, clip: float, kl: float, word: str) -> None:
    study = conservative(tmp_path / "conservative", clip=clip, kl=kl)
    found = claim_rules.conservative([study])
    assert found is not None and found[0] == word
    assert f"{100 * abs(clip):.1f} points {'lower' if clip < 0 else 'higher'}" in found[1]
    assert "grid of rates" not in found[1]  # no area was committed
    pd.DataFrame(
        [
            {"factor": "clip", "where": "kl=none", "estimate": 0.047, "low": 0.041, "high": 0.054},
            {"factor": "clip", "where": "kl=0.04", "estimate": 0.9, "low": 0.8, "high": 1.0},
            {"factor": "kl", "where": "clip=none", "estimate": 0.04, "low": 0.035, "high": 0.045},
        ]
    ).to_csv(study.folder / "area_effects.csv", index=False)
    again = claim_rules.conservative([study])
    assert again is not None and "each alone adds 4.7 [4.1, 5.4] and 4.0 [3.5, 4.5] points" in again[1]
    assert "Without either greedy answers gain 0.0 [" in again[1]
    rows = pd.read_csv(study.folder / "evaluations.csv")
    rows.loc[rows["step"] > 0, "greedy"] += 0.1
    rows.to_csv(study.folder / "evaluations.csv", index=False)
    gained = claim_rules.conservative([Committed.read(study.folder)])
    assert gained is not None and gained[0] == word.split()[0] and "nothing to explain" not in gained[1]


@pytest.mark.parametrize(
    "clip, kl, word",
    [
        ("equivalent", "undecided", "undecided"),
        ("cannot tell", "worse", "undecided"),
        ("worse", "equivalent", "refuted at temperature 1"),
        ("cannot tell", "better", "supported at temperature 1"),
    ],
)
def test_one_of_two_contrasts_refutes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: str, kl: str, word: str
) -> None:
    words = {"clip": clip, "kl": kl}

    def judged(study: Committed, level: str, metric: str, factor: str) -> SimpleNamespace:
        return SimpleNamespace(verdict=SimpleNamespace(word=words[factor]))

    monkeypatch.setattr(claim_rules, "contrast_of", judged)
    monkeypatch.setattr(claim_rules, "_size", lambda judged: "so much")
    found = claim_rules.conservative([conservative(tmp_path / "conservative", clip=0.0, kl=0.0)])
    assert found is not None and found[0] == word


def sizes(folder: Path, gains: dict[str, tuple[float, float]]) -> Committed:
    """Arms of 10, 100 and 1,000 problems with (sampled, greedy) gains; another factor is at its control."""
    arms: dict[str, Any] = {
        f"{number}, {other}": (
            {"data.num_distinct": number, "other": other},
            [BASE, (48, accuracies(0.2 + (avg if other == "a" else 0.9), 0.5 + greedy))],
        )
        for number, (avg, greedy) in gains.items()
        for other in ("a", "b")
    }
    factors = {"data.num_distinct": list(gains), "other": ["a", "b"]}
    return committed(folder, factors, {"data.num_distinct": "1000", "other": "a"}, arms)


@pytest.mark.parametrize(
    "greedy, avg, word",
    [(0.02, 0.03, "supported"), (0.0, 0.03, "undecided"), (-0.02, -0.01, "refuted")],
)
def test_what_grows_with_a_number(tmp_path: Path, greedy: float, avg: float, word: str) -> None:
    """A gain of i times a step at 10^i problems has that slope a factor of ten."""
    gains = {str(10**i): (i * avg, i * greedy) for i in (1, 2, 3)}
    found = claim_rules.grows_with("data.num_distinct", "problems")([sizes(tmp_path / "diversity", gains)])
    assert found is not None and found[0] == word
    assert f"With `other=a`, ten times the problems add {100 * avg:+.1f} [".replace("-", "−") in found[1]


def test_a_loss_that_shrinks_is_no_gain_that_grows(tmp_path: Path) -> None:
    gains = {"10": (0.03, -0.1), "100": (0.06, -0.06), "1000": (0.09, -0.02)}
    found = claim_rules.grows_with("data.num_distinct", "problems")([sizes(tmp_path / "diversity", gains)])
    assert found is not None and found[0] == "undecided"
    assert " and +4.0 [" in found[1] and "with the most problems the greedy gain is −2.0 [" in found[1]


def test_steps_are_read_within_the_control_arm(tmp_path: Path) -> None:
    steps = [(s, accuracies(0.2 + 0.05 * i, 0.5 + 0.01 * i)) for i, s in enumerate((10, 100, 1000), 1)]
    flat = [(s, accuracies(0.9)) for s in (10, 100, 1000)]
    arms: dict[str, Any] = {"sft": ({"arm": "sft"}, [BASE, *steps]), "grpo": ({"arm": "grpo"}, [BASE, *flat])}
    study = committed(tmp_path / "s", {"arm": ["sft", "grpo"]}, {"arm": "sft"}, arms)
    found = claim_rules.with_steps([study])
    assert found is not None and found[0] == "supported"
    assert "add +5.0 [" in found[1] and "and +1.0 [" in found[1]


@pytest.mark.parametrize(
    "ratio, word",
    [
        ((0.9, 0.7, 1.1), "refuted"),
        ((0.1, 0.0, 0.2), "supported"),
        ((0.4, 0.2, 0.6), "undecided"),
        ((0.4, None, None), "undecided"),
    ],
)
def test_whether_a_gain_reaches_untrained_families(
    tmp_path: Path, ratio: tuple[float | None, ...], word: str
) -> None:
    """The gain at own best temperatures decides; one at temperature 1 may be sharpening alone."""
    study = conservative(tmp_path / "conservative", clip=0.0, kl=0.0)
    ends = ("", "_low", "_high")
    gains = {f"{side}{end}": 0.01 for side in ("trained", "untrained") for end in ends}
    own = dict(zip((f"ratio{e}" for e in ends), ratio, strict=True))
    sampled = dict(zip((f"ratio{e}" for e in ends), (0.9, 0.7, 1.1), strict=True))
    rows = [
        {"arm": "none, none", "measure": "avg", **sampled, **gains},
        {"arm": "none, none", "measure": "best", **own, **gains},
        {"arm": "0.2, none", "measure": "best", "ratio": 9.0, "ratio_low": 9.0, "ratio_high": 9.0},
    ]
    pd.DataFrame(rows).to_csv(study.folder / "transfer.csv", index=False)
    found = claim_rules.generalises([study])
    assert found is not None and found[0] == word
    assert "gain 90 % [70, 110] of" in found[1] and "+1.0 [+1.0, +1.0]" in found[1]
    assert ("no gain that could reach others" in found[1]) == (ratio[1] is None)


def test_where_the_control_is_a_null_the_trained_arms_above_the_floor_count(tmp_path: Path) -> None:
    arms: dict[str, Any] = {
        f"{arm}, {size}": ({"arm": arm, "model": size}, [BASE, (24, accuracies(0.3))])
        for arm in ("sft", "grpo", "random")
        for size in ("xs", "m")
    }
    factors = {"arm": ["sft", "grpo", "random"], "model": ["xs", "m"]}
    study = committed(tmp_path / "transfer", factors, {"arm": "random", "model": "xs"}, arms)
    plan = json.loads((study.folder / "study.json").read_text())
    plan["declared"] |= {"family": ["sft", "grpo"], "nulls": ["random"]}
    (study.folder / "study.json").write_text(json.dumps(plan))
    levels = [{"arm": a, "estimate_low": 0.02 if "xs" in a else 0.3, "best_constant": 0.05} for a in arms]
    pd.DataFrame(levels).to_csv(study.folder / "arms.csv", index=False)
    ends, rows = ("", "_low", "_high"), []
    for arm in arms:
        gain, ratio = (0.1 if arm == "sft, m" else 0.2), ((0.9, 0.7, 1.1) if "m" in arm else (0.1, 0.0, 0.2))
        own = {f"{side}{end}": gain for side in ("trained", "untrained") for end in ends}
        own |= dict(zip((f"ratio{end}" for end in ends), ratio, strict=True))
        rows += [{"arm": arm, "measure": measure, **own} for measure in ("avg", "best")]
    pd.DataFrame(rows).to_csv(study.folder / "transfer.csv", index=False)
    found = claim_rules.generalises([Committed.read(study.folder)])
    assert (
        found is not None and found[0] == "refuted"
    )  # the arms at the floor, and the null, would not say so
    assert "gain 90 % [70, 110] (`sft, m`) and 90 % [70, 110] (`grpo, m`) of" in found[1]
    assert "gain +10.0 [+10.0, +10.0] and +20.0 [+20.0, +20.0] points and untrained ones" in found[1]
    rows = [row | {"ratio_low": 0.3} if row["arm"] == "grpo, m" else row for row in rows]
    pd.DataFrame(rows).to_csv(study.folder / "transfer.csv", index=False)
    again = claim_rules.generalises([Committed.read(study.folder)])
    assert again is not None and again[0] == "undecided"  # one of two is not enough


@pytest.mark.parametrize("difference, word", [(0.01, "supported"), (0.05, "refuted"), (-0.05, "refuted")])
def test_grpo_against_fine_tuning(tmp_path: Path, difference: float, word: str) -> None:
    arms: dict[str, Any] = {
        "sft": ({"objective": "sft"}, [BASE, (24, accuracies(0.3))]),
        "grpo": ({"objective": "grpo"}, [BASE, (24, accuracies(0.3 + difference))]),
    }
    study = committed(tmp_path / "s", {"objective": ["sft", "grpo"]}, {"objective": "sft"}, arms)
    found = claim_rules.thesis([study])
    assert found is not None and found[0] == word


def test_grpo_has_to_be_equivalent_in_every_study(tmp_path: Path) -> None:
    def study(name: str, difference: float) -> Committed:
        arms: dict[str, Any] = {
            "sft": ({"objective": "sft"}, [BASE, (24, accuracies(0.3))]),
            "grpo": ({"objective": "grpo"}, [BASE, (24, accuracies(0.3 + difference))]),
        }
        return committed(tmp_path / name, {"objective": ["sft", "grpo"]}, {"objective": "sft"}, arms)

    same, better = study("same", 0.01), study("better", 0.05)
    both = claim_rules.thesis([same, study("too", 0.01)])
    assert both is not None and both[0] == "supported"
    assert "(equivalent) in `same` and " in both[1] and "in `too`" in both[1]
    assert "In greedy answers: " in both[1]
    mixed = claim_rules.thesis([same, better])
    assert mixed is not None and mixed[0] == "refuted"
    rows = pd.read_csv(same.folder / "evaluations.csv")
    rows.loc[(rows["arm"] == "grpo") & (rows["step"] > 0), "greedy"] += 0.1
    rows.to_csv(same.folder / "evaluations.csv", index=False)
    apart = claim_rules.thesis([Committed.read(same.folder)])
    assert apart is not None and apart[0] == "undecided"  # equivalent when sampled, better in greedy answers


def test_a_claim_without_its_study_is_not_run_and_a_smoke_test_decides_nothing(tmp_path: Path) -> None:
    study = conservative(tmp_path / "conservative", clip=0.0, kl=0.0)
    first = "**Cause 1: a conservative objective (clipping, a KL penalty) makes the gain: "
    shown = claims_section([study])
    assert len(shown) == 2 + len(CLAIMS)
    assert (
        shown[2].startswith(f"{first}refuted at temperature 1.**")
        and "[conservative](conservative/report.md)" in shown[2]
    )
    assert [": not run.**" in text for text in shown[3:]] == [True] * (len(CLAIMS) - 1)
    assert "Preset: `ablation=self_evolution`." in "".join(shown)
    smoke = Committed(study.folder, study.name, study.question, study.answer, seeds=3)
    assert claims_section([smoke])[2].startswith(f"{first}not run.**")


def test_a_study_with_one_draw_for_all_seeds_decides_nothing(tmp_path: Path) -> None:
    study = conservative(tmp_path / "conservative", clip=0.05, kl=0.0)
    assert "gain: supported at temperature 1.**" in claims_section([study])[2]
    path = study.folder / "study.json"
    path.write_text(path.read_text().replace(', "draws": "per_seed"', ""))
    older = claims_section([Committed.read(study.folder)])[2]
    assert "gain: undecided.**" in older and "The study is older and decides nothing" in older


def test_every_preset_that_is_named_exists() -> None:
    conf = Path(__file__).resolve().parents[4] / "conf" / "ablation"
    assert [name for claim in CLAIMS for name in claim.studies if not (conf / f"{name}.yaml").exists()] == []
