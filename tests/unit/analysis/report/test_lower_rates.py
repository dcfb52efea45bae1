"""Gains at the rate below the chosen one: worked by hand on a study of five seeds and two rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.report.lower_rates import lower_rate_gains, lower_rates_section
from analysis.stats.intervals import paired_t

HEADER = "run_id,arm,seed,step,task,split,avg,greedy,maj,pass,main,tried_by,lr"
CHOSEN = (0.30, 0.31, 0.33, 0.29, 0.32)  # avg at the chosen rate; the base has 0.1 and greedy 0.5
LOWER = (0.22, 0.20, 0.21, 0.23, 0.22)
GREEDY = {"high": (0.40, 0.41, 0.43, 0.42, 0.39), "low": (0.53, 0.54, 0.52, 0.55, 0.53)}


def write(folder: Path, *, at_lowest: tuple[int, ...] = ()) -> None:
    """One arm; seeds in `at_lowest` chose the lower rate. A third rate above was tried by every seed."""
    folder.mkdir(parents=True)
    lines = [HEADER]
    for seed in range(5):
        low_chosen = seed in at_lowest
        rates = (("low", 1e-4, LOWER[seed], low_chosen), ("high", 3e-4, CHOSEN[seed], not low_chosen))
        tail = "aime_gen_test_k,test"
        lines.append(f"b{seed},grpo,{seed},0,{tail},0.1,0.5,0.2,0.9,True,grpo,{1e-4 if low_chosen else 3e-4}")
        for name, rate, avg, chosen in rates:
            arm, greedy = "grpo" if chosen else "", GREEDY[name][seed]
            lines.append(f"{name}{seed},{arm},{seed},4,{tail},0.15,0.5,0.2,0.9,True,grpo,{rate}")
            lines.append(f"{name}{seed},{arm},{seed},8,{tail},{avg},{greedy},0.2,0.9,True,grpo,{rate}")
        lines.append(f"top{seed},,{seed},8,{tail},0.0,0.0,0.0,0.0,True,grpo,0.001")
    (folder / "evaluations.csv").write_text("\n".join(lines) + "\n")
    study = {
        "seeds": list(range(5)),
        "factors": {"arm": ["grpo"]},
        "control": {"arm": "grpo"},
        "primary": {"factor": "arm"},
        "arms": [{"label": "grpo", "levels": {"arm": "grpo"}, "overrides": []}],
    }
    (folder / "study.json").write_text(json.dumps(study))
    finding = {"study": folder.name, "question": "", "answer": "", "seeds": 5}
    (folder / "finding.json").write_text(json.dumps(finding))


def test_both_rates_on_the_same_seeds(tmp_path: Path) -> None:
    write(tmp_path / "a")
    rows = lower_rate_gains(tmp_path).set_index(["measure", "rate"])
    for rate, avg, greedy in (("chosen", CHOSEN, GREEDY["high"]), ("lower", LOWER, GREEDY["low"])):
        for measure, values, base in (("avg", avg, 0.1), ("greedy", greedy, 0.5)):
            wanted = paired_t([value - base for value in values])
            row = rows.loc[(measure, rate)]
            assert (row["gain"], row["gain_low"]) == pytest.approx((wanted.estimate, wanted.low))
            assert row["seeds"] == 5
    text = "\n".join(lower_rates_section(rows.reset_index()))
    assert "| greedy | chosen | −9.0 | 0 | 1 |" in text and "| greedy | lower | +3.4 | 1 | 0 |" in text
    assert "(1 arms" not in text and "1 arm " in text


def test_a_seed_that_chose_the_lowest_rate_is_in_neither(tmp_path: Path) -> None:
    write(tmp_path / "a", at_lowest=(0,))
    rows = lower_rate_gains(tmp_path).set_index(["measure", "rate"])
    assert set(rows["seeds"]) == {4}
    assert rows.loc[("avg", "chosen"), "gain"] == pytest.approx(sum(CHOSEN[1:]) / 4 - 0.1)
    assert rows.loc[("avg", "lower"), "gain"] == pytest.approx(sum(LOWER[1:]) / 4 - 0.1)
    write(tmp_path / "few" / "b", at_lowest=(0, 1, 2))  # two seeds left
    assert lower_rate_gains(tmp_path / "few").empty
    assert lower_rates_section(lower_rate_gains(tmp_path / "few")) == []
