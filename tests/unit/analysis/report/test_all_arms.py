"""Gains of all arms: worked by hand on a study of three seeds, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.figures.all_arms import all_arms
from analysis.report.all_arms import directions, gains

HEADER = "run_id,arm,seed,step,task,split,avg,greedy,maj,pass"
# Accuracy before and after by seed: gains .10 .12 .14 (sft), .20 .20 .23 (grpo); greedy falls or stays.
SFT = [(0.1, 0.20), (0.1, 0.22), (0.1, 0.24)]
GRPO = [(0.1, 0.30), (0.1, 0.30), (0.1, 0.33)]


def write(folder: Path, arms: dict[str, list[tuple[float, float]]], overrides: dict[str, list[str]]) -> None:
    folder.mkdir()
    lines = [HEADER]
    for arm, seeds in arms.items():
        for seed, (before, after) in enumerate(seeds):
            greedy = 0.5 - 0.1 * seed
            lines.append(f"r,{arm},{seed},0,aime_gen_test_k,test,{before},0.5,0.2,0.9")
            lines.append(f"r,{arm},{seed},8,aime_gen_test_k,test,{after},{greedy},0.2,0.9")
            lines.append(f"r,{arm},{seed},8,aime_gen_train_k,train,1.0,1.0,1.0,1.0")
    (folder / "evaluations.csv").write_text("\n".join(lines) + "\n")
    study = {
        "study": folder.name,
        "factors": {"arm": list(arms)},
        "control": {"arm": "sft"},
        "primary": {"factor": "arm"},
        "arms": [{"label": arm, "levels": {"arm": arm}, "overrides": overrides.get(arm, [])} for arm in arms],
    }
    (folder / "study.json").write_text(json.dumps(study))


def test_gains_and_differences_by_hand(tmp_path: Path) -> None:
    write(tmp_path / "a", {"sft": SFT, "grpo": GRPO}, {})
    rows = gains(tmp_path)
    sft, grpo = (rows[(rows["arm"] == arm) & (rows["measure"] == "avg")].iloc[0] for arm in ("sft", "grpo"))
    # sft: mean .12, sd .02, t(.975, 2) = 4.3027: half width 4.3027 x .02 / sqrt(3) = .049683
    assert (sft["gain"], sft["gain_low"]) == pytest.approx((0.12, 0.070317), abs=1e-5)
    assert sft["seeds"] == 3 and sft["base"] == pytest.approx(0.1) and sft["after"] == pytest.approx(0.22)
    # grpo - sft: .10 .08 .09: mean .09, sd .01, half width .024841
    assert grpo["minus_control"] == pytest.approx(0.09)
    assert grpo["minus_control_low"] == pytest.approx(0.065159, abs=1e-5)
    assert sft["minus_control"] is None or sft["minus_control"] != sft["minus_control"]
    sides = dict(zip(zip(rows["arm"], rows["measure"], strict=True), directions(rows), strict=True))
    # greedy: 0, -.1, -.2: mean -.1, sd .1, half width .248: holds 0. maj and pass have no spread: no interval
    assert sides == {
        ("sft", "avg"): "up",
        ("grpo", "avg"): "up",
        ("sft", "greedy"): "unclear",
        ("grpo", "greedy"): "unclear",
    }


def test_controls_equal_numbers_and_equal_arms_are_left_out(tmp_path: Path) -> None:
    down = [(0.3, 0.10), (0.3, 0.12), (0.3, 0.13)]
    overrides = {"coin": ["objective.reward.random=1"], "dosed": ["data.dose={percent: 50}"]}
    write(tmp_path / "a", {"sft": SFT, "coin": GRPO, "dosed": GRPO, "worse": down}, overrides)
    write(tmp_path / "b", {"sft": SFT}, {})
    write(tmp_path / "c", {"sft": GRPO}, {})
    study = json.loads((tmp_path / "c" / "study.json").read_text())
    (tmp_path / "c" / "study.json").write_text(json.dumps({**study, "factors": {"replicate": ["0", "1"]}}))
    rows = gains(tmp_path)
    assert set(zip(rows["study"], rows["arm"], strict=True)) == {("a", "sft"), ("a", "worse")}
    (side,) = directions(rows)[(rows["arm"] == "worse") & (rows["measure"] == "avg")]
    assert side == "down"
    figure = all_arms(rows, directions(rows))
    ranks = {row["tip"].split(":")[0]: row["rank"] for row in figure.rows}
    assert ranks == {"a, sft": 0, "a, worse": 1}
    assert {row["panel"] for row in figure.rows} == {
        "Sampled at temperature 1\n1 of 2 rise, 1 fall",
        "Decoded greedily\n0 of 2 rise, 0 fall",
    }
