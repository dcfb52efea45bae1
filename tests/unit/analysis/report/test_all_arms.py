"""Gains of all arms: worked by hand on a study of four seeds, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.figures.all_arms import all_arms
from analysis.report.all_arms import directions, gains

HEADER = "run_id,arm,seed,step,task,split,avg,greedy,maj,pass"
Pairs = list[tuple[float, float]]
# Accuracy before and after by seed: gains .10 .12 .14 .12 (sft) and .20 .20 .23 .21 (grpo).
SFT = [(0.1, 0.20), (0.1, 0.22), (0.1, 0.24), (0.1, 0.22)]
GRPO = [(0.1, 0.30), (0.1, 0.30), (0.1, 0.33), (0.1, 0.31)]
WORSE = [(0.3, 0.10), (0.3, 0.12), (0.3, 0.13), (0.3, 0.12)]


def write(folder: Path, arms: dict[str, Pairs], overrides: dict[str, list[str]] | None = None) -> None:
    """Greedy accuracy falls by .0 .1 .2 .3 from seed to seed; the vote and pass@k stay as they were."""
    folder.mkdir()
    lines = [HEADER]
    for arm, seeds in arms.items():
        for seed, (before, after) in enumerate(seeds):
            greedy, last = 0.5 - 0.1 * seed, 8 - seed % 2  # runs of one arm may end at different steps
            lines.append(f"r,{arm},{seed},0,aime_gen_test_k,test,{before},0.5,0.2,0.9")
            lines.append(f"r,{arm},{seed},{last},aime_gen_test_k,test,{after},{greedy},0.2,0.9")
            lines.append(f"r,{arm},{seed},{last},aime_gen_train_k,train,1.0,1.0,1.0,1.0")
    (folder / "evaluations.csv").write_text("\n".join(lines) + "\n")
    study = {
        "study": folder.name,
        "seeds": list(range(len(next(iter(arms.values()))))),
        "factors": {"arm": list(arms)},
        "control": {"arm": "sft"},
        "primary": {"factor": "arm"},
        "arms": [
            {"label": arm, "levels": {"arm": arm}, "overrides": (overrides or {}).get(arm, [])}
            for arm in arms
        ],
    }
    (folder / "study.json").write_text(json.dumps(study))
    finding = {"study": folder.name, "question": "", "answer": "", "seeds": len(study["seeds"])}
    (folder / "finding.json").write_text(json.dumps(finding))


def test_gains_and_differences_by_hand(tmp_path: Path) -> None:
    write(tmp_path / "a", {"sft": SFT, "grpo": GRPO})
    rows = gains(tmp_path)
    sft, grpo = (rows[(rows["arm"] == arm) & (rows["measure"] == "avg")].iloc[0] for arm in ("sft", "grpo"))
    # sft: mean .12, sd sqrt(.0008 / 3) = .016330, t(.975, 3) = 3.18245: half width 3.18245 x .016330 / 2
    assert (sft["gain"], sft["gain_low"]) == pytest.approx((0.12, 0.094015), abs=1e-5)
    assert sft["seeds"] == 4 and sft["base"] == pytest.approx(0.1) and sft["after"] == pytest.approx(0.22)
    # grpo - sft: .10 .08 .09 .09: mean .09, sd sqrt(.0002 / 3) = .008165, half width .012992
    assert grpo["minus_control"] == pytest.approx(0.09)
    assert grpo["minus_control_low"] == pytest.approx(0.077008, abs=1e-5)
    assert sft["minus_control"] != sft["minus_control"]  # the control has none


def test_at_own_best_temperature_it_is_the_reports_gain(tmp_path: Path) -> None:
    write(tmp_path / "a", {"sft": SFT, "grpo": GRPO})
    (tmp_path / "a" / "anatomy.csv").write_text(
        "arm,best,best_gain,best_gain_low,best_gain_high,best_gain_df\n"
        "no training,0.5,,,,\nsft,0.45,-0.05,-0.08,-0.02,3\n"
    )
    rows = gains(tmp_path)
    assert set(rows.loc[rows["arm"] == "grpo", "measure"]) == {"avg", "maj", "greedy", "pass"}
    best = rows[rows["measure"] == "best"].iloc[0]
    assert (best["arm"], best["seeds"], best["after"], best["gain"]) == ("sft", 4, 0.45, -0.05)
    assert best["base"] == pytest.approx(0.5) and directions(rows)[best.name] == "down"
    panels = {row["panel"] for row in all_arms(rows, directions(rows)).rows}
    assert "At own best T\n0 of 1 rise, 1 fall" in panels


def test_mixtures_of_generated_problems_count(tmp_path: Path) -> None:
    write(tmp_path / "a", {"sft": SFT})
    path = tmp_path / "a" / "evaluations.csv"
    path.write_text(path.read_text().replace("aime_gen_test_k", "mixture_test_k"))
    assert set(gains(tmp_path)["arm"]) == {"sft"}
    path.write_text(path.read_text().replace("mixture_test_k", "gsm8k_test_k"))
    assert gains(tmp_path).empty


def test_a_gain_without_an_interval_is_shown_and_not_counted(tmp_path: Path) -> None:
    write(tmp_path / "a", {"sft": SFT})
    rows = gains(tmp_path)
    # greedy: 0 -.1 -.2 -.3: mean -.15, sd .129, half width .205: holds 0. maj and pass move in no seed.
    assert dict(zip(rows["measure"], directions(rows), strict=True)) == {
        "avg": "up",
        "maj": "unclear",
        "greedy": "unclear",
        "pass": "unclear",
    }
    marks = {row["panel"].split("\n")[0]: row for row in all_arms(rows, directions(rows)).rows}
    still = marks["Any of k right"]
    assert (still["low"], still["value"], still["high"]) == (0.0, 0.0, 0.0)


def test_what_is_left_out(tmp_path: Path) -> None:
    overrides = {"coin": ["objective.reward.random=1"], "dosed": ["data.dose={percent: 50}"]}
    write(tmp_path / "a", {"sft": SFT, "coin": GRPO, "dosed": GRPO, "worse": WORSE}, overrides)
    write(tmp_path / "again", {"sft": SFT})
    write(tmp_path / "smoke", {"sft": GRPO[:3]})
    write(tmp_path / "equal", {"sft": GRPO})
    study = json.loads((tmp_path / "equal" / "study.json").read_text())
    study["factors"] = {"replicate": ["0", "1"]}
    (tmp_path / "equal" / "study.json").write_text(json.dumps(study))
    rows = gains(tmp_path)
    assert set(zip(rows["study"], rows["arm"], strict=True)) == {("a", "sft"), ("a", "worse")}
    (side,) = directions(rows)[(rows["arm"] == "worse") & (rows["measure"] == "avg")]
    assert side == "down"
    figure = all_arms(rows, directions(rows))
    assert {row["tip"].split(":")[0]: row["rank"] for row in figure.rows} == {"a, sft": 0, "a, worse": 1}
    assert "At temperature 1\n1 of 2 rise, 1 fall" in {row["panel"] for row in figure.rows}


def test_several_tasks_on_the_judged_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", {"sft": SFT})
    path = tmp_path / "a" / "evaluations.csv"
    path.write_text(path.read_text() + "r,sft,0,8,aime_gen_other_k,test,0.1,0.1,0.1,0.1\n")
    with pytest.raises(ValueError, match="several tasks on test: aime_gen_other_k, aime_gen_test_k"):
        gains(tmp_path)
