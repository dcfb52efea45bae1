"""Logs that other tools wrote (tests/unit/analysis/study/written_logs), compared from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.logs import compare_logs
from analysis.study.logs.sides import Options

LOGS = Path(__file__).resolve().parents[1] / "study" / "written_logs"
FLEXIBLE = Options(metrics=["exact_match,flexible-extract"])


def sides(tool: str) -> list[str]:
    return [str(LOGS / tool / name) for name in ("first", "second")]


def inspect_side(name: str) -> str:
    return ",".join(str(LOGS / "inspect" / f"{name}_s{seed}.eval") for seed in range(3))


def rows(found) -> dict[str, dict[str, object]]:
    return {row["task"]: row for row in found.table.raw.to_dict("records")}


def test_two_logs_of_lm_eval_are_paired_by_problem() -> None:
    """By hand: of 16 problems 7 are right in the second alone, 3 in the first alone, 3 in both.

    Mean (7 − 3) / 16 = 0.25; variance (10 − 16 · 0.25²) / 15 = 0.6; se sqrt(0.6 / 16) = 0.19365;
    t(15) at 97.5 % = 2.13145, so half a width is 0.41275. t = 1.29099, p = 0.2163; Holm over one p.
    """
    found = compare_logs(*sides("lm_eval"), FLEXIBLE)
    row = rows(found)["sums"]
    assert (row["problems"], row["first"], row["second"]) == (16, 0.375, 0.625)
    assert (row["won"], row["lost"]) == (7, 3)
    assert row["difference"] == pytest.approx(0.25) and row["p"] == pytest.approx(0.2163, abs=1e-4)
    assert row["difference_low"] == pytest.approx(0.25 - 0.41275, abs=1e-5)
    assert row["difference_high"] == pytest.approx(0.25 + 0.41275, abs=1e-5)
    assert row["varies"] == "problems; the trained models are fixed"
    assert any(note.startswith("one log a side") for note in found.notes)


def test_few_problems_that_differ_give_no_interval() -> None:
    """few_sums has 6 problems, of which the two differ on all: 4 better, 2 worse."""
    row = rows(compare_logs(*sides("lm_eval"), FLEXIBLE))["few_sums"]
    assert (row["won"], row["lost"]) == (4, 2) and row["difference"] == pytest.approx(2 / 6)
    assert np.isnan(row["p"]) and "differ on 6 problems: 10 are needed" in row["reason"]


def test_a_metric_is_asked_for_never_chosen() -> None:
    """Strictly read, the first loses two answers that stand in a sentence: 4 of 16."""
    with pytest.raises(
        ValueError, match=r"several metrics; give --metric, one of exact_match,strict-match; "
    ):
        compare_logs(*sides("lm_eval"))
    with pytest.raises(ValueError, match="several metrics"):
        compare_logs(*sides("lm_eval"), Options(metrics=["exact_match"]))
    with pytest.raises(ValueError, match=r"no metric acc; give --metric, one of exact_match,"):
        compare_logs(*sides("lm_eval"), Options(metrics=["acc"]))
    strict = Options(metrics=["exact_match,strict-match"], tasks=["sums"])
    assert rows(compare_logs(*sides("lm_eval"), strict))["sums"]["first"] == 0.25


def test_documents_pair_by_text_whatever_their_order_and_number(tmp_path: Path) -> None:
    first, second = sides("lm_eval")
    shutil.copytree(second, tmp_path / "second")
    (path,) = (tmp_path / "second").rglob("samples_sums_*.jsonl")
    lines = path.read_text().splitlines()
    lines = [line for line in reversed(lines) if json.loads(line)["doc_id"] != 15]
    changed = json.loads(lines[0]) | {"prompt_hash": "other"}  # of one shared problem
    path.write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    (results,) = (tmp_path / "second").rglob("results_*.json")
    record = json.loads(results.read_text())
    record["n-shot"]["sums"] = 5
    results.write_text(json.dumps(record))
    found = compare_logs(first, str(tmp_path / "second"), FLEXIBLE)
    row = rows(found)["sums"]
    assert (row["problems"], row["won"], row["lost"]) == (15, 7, 3)
    assert "sums: 1 problems are not in every log, and left out of all; 15 stay" in found.notes
    assert "sums: the logs differ in number of shots: 0 and 5" in found.notes
    assert "sums: another prompt in the two for 1 of 15 problems" in found.notes


def test_three_seeds_of_inspect_are_paired_by_seed_and_by_text() -> None:
    """By hand: 2, 3, 2 of 8 samples are right, and 4, 6, 6: differences 0.25, 0.375, 0.5.

    Mean 0.375, sd 0.125, se 0.07217, t(2) at 97.5 % = 4.30265: half a width is 0.31052. Seed 1 of the second
    has the problems in the reverse order, so Inspect's ids pair wrong ones. Problem by problem over the
    seeds, 5, 2, 0, 0 of 6 against 6, 4, 5, 1: better on all four.
    """
    found = compare_logs(inspect_side("first"), inspect_side("second"))
    row = rows(found)["sums"]
    assert found.table.columns[4:6] == ["first", "second"]
    assert (row["problems"], row["samples_min"], row["seeds_first"], row["method"]) == (4, 2, 3, "paired t")
    assert row["first"] == pytest.approx(7 / 24) and row["second"] == pytest.approx(16 / 24)
    assert row["difference"] == pytest.approx(0.375)
    assert row["difference_low"] == pytest.approx(0.375 - 0.31052, abs=1e-5)
    assert (row["won"], row["lost"]) == (4, 0)
    assert row["new_problems"] == pytest.approx(0.375) and row["new_problems_low"] < row["difference_low"]
    assert any(note.startswith("3 seeds: a t with few degrees") for note in found.notes)
    assert not any(note.startswith("one log a side") for note in found.notes)


def test_seeds_that_do_not_pair_are_compared_unpaired() -> None:
    """Welch by hand: means 7/24 and 16/24; variances (1/8)²/3 and (2/8)²/3, so se² = (1 + 4)/(3·64·3)."""
    places = [str(LOGS / "inspect" / f"second_s{seed}.eval") for seed in range(3)]
    second = ",".join(f"{seed + 5}={place}" for seed, place in enumerate(places))
    found = compare_logs(inspect_side("first"), second)
    row = rows(found)["sums"]
    assert row["method"] == "Welch t" and row["difference"] == pytest.approx(9 / 24)
    assert row["difference_se"] == pytest.approx((5 / 576) ** 0.5)
    assert row["new_problems"] is None or np.isnan(row["new_problems"])
    assert any(note.startswith("no three seeds are in both") for note in found.notes)


def test_a_seed_of_one_side_alone_is_left_out_and_named(tmp_path: Path) -> None:
    shutil.copy(LOGS / "inspect" / "first_s0.eval", tmp_path / "more.eval")
    found = compare_logs(inspect_side("first"), f"{inspect_side('second')},9={tmp_path / 'more.eval'}")
    assert rows(found)["sums"]["second"] == pytest.approx(16 / 24)
    assert "in one side alone, and left out: seed 9" in found.notes


def test_generations_of_verl_are_read_at_their_last_step() -> None:
    """Step 40 has 3 and 6 of 8 right; grades are verl's own texts, as `default=str` wrote NumPy's truth."""
    found = compare_logs(*sides("verl"))
    assert (rows(found)["all"]["first"], rows(found)["all"]["second"]) == (3 / 8, 6 / 8)
    assert f"{LOGS / 'verl' / 'first'}: step 40 (the last)" in found.notes
    early = rows(compare_logs(*sides("verl"), Options(step=20)))["all"]
    assert (early["first"], early["second"]) == (2 / 8, 4 / 8)
    scored = rows(compare_logs(*sides("verl"), Options(columns={"correct": "score>0"})))["all"]
    assert (scored["first"], scored["second"]) == (3 / 8, 6 / 8)
    with pytest.raises(ValueError, match=r"score: -1 lies outside \[0, 1\]; say what is right, as in"):
        compare_logs(*sides("verl"), Options(columns={"correct": "score"}))


def test_generations_of_trl_are_read_from_parquet() -> None:
    found = compare_logs(*sides("trl"))
    (files, others) = (sorted(Path(side).glob("*.parquet")) for side in sides("trl"))
    means = [pd.read_parquet(each[0])["digits"].mean() for each in (files, others)]
    assert [rows(found)["all"][name] for name in ("first", "second")] == pytest.approx(means)
    assert any("TRL logs the prompts of a batch" in note for note in found.notes)


def test_the_command_prints_the_table_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    pattern = str(LOGS / "inspect" / "second_s*.eval")
    assert main(["compare", inspect_side("first"), pattern, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "+37.5 [+6.4, +68.6]" in printed.out and "note: 3 seeds" in printed.err
    assert {path.name for path in out.iterdir()} == {
        "compare.html",
        "compare.md",
        "compare.csv",
        "problems.csv",
    }
    problems = pd.read_csv(out / "problems.csv")
    assert sorted(problems["second"] - problems["first"]) == pytest.approx([1 / 6, 1 / 6, 2 / 6, 5 / 6])
    assert "<h2>Read with care</h2>" in (out / "compare.html").read_text()


METRIC = ["--metric", FLEXIBLE.metrics[0]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["{lm}", "{lm}", *METRIC], "the same log on both sides"),
        (["{verl}", "{inspect}"], "is of verl"),
        (["{lm}", "literature"], "no logs of another tool there"),
        (["{lm}", "/nowhere/a,/nowhere/b", *METRIC], "/nowhere/a: no such file or folder"),
        (["{verl}", "{verl2}", "--metric", "acc"], "--metric is for lm-eval and Inspect"),
        (["{verl}", "{verl2}", "--columns", "problm=input"], "--columns problm=input: give NAME=COLUMN"),
        (["{verl}", "{verl2}", "--columns", "problem=inptu"], "no such column; it has input, output, gts"),
        (["{verl}", "{verl2}", "--columns", "correct=accc>0"], "correct=accc>0: no such column"),
        (["{verl}", "{verl2}", "--step", "30"], "0 files of step 30"),
        (["{lm}", "{lm2}", "--columns", "problem=doc"], "--columns is for generations"),
        (["{lm}", "{lm2}", "--task", "gsm8k", *METRIC], "no graded samples of gsm8k"),
    ],
)
def test_what_is_wrong_is_one_line(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = dict(zip(("lm", "lm2", "verl", "verl2"), sides("lm_eval") + sides("verl"), strict=True))
    names["inspect"] = str(LOGS / "inspect" / "first_s0.eval")
    assert main(["compare", *(part.format(**names) for part in given)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_studies_and_logs_do_not_mix(make_study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(make_study(seeds=3))
    assert main(["compare", folder, sides("verl")[0]]) == 2
    assert "studies do not pair with logs" in capsys.readouterr().err
    assert main(["compare", folder, folder, "--metric", "acc"]) == 2
    assert "--metric: it is for other tools' logs" in capsys.readouterr().err


def test_logs_compare_from_python() -> None:
    from analysis import compare

    frame = compare(*sides("lm_eval"), metrics=FLEXIBLE.metrics, tasks=["sums"])
    assert frame["difference"].tolist() == [pytest.approx(0.25)]
