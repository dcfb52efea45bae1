"""Two studies side by side, and a study beside the literature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats as sps

from analysis.__main__ import main
from analysis.report.compare import compare_figure, compare_table, comparison, mismatches
from analysis.study.load import load_study
from analysis.tables.literature import FILE, literature_table, reference_table
from harness.records import records
from tests.unit.analysis.conftest import evaluation, write_evaluation

# The paper's tables 2, 4, 5 and 6 and figure 1 (arXiv v1): AIME 2024 pass@1, cons@64, MATH-500 pass@1,
# SWE-bench Verified resolved.
PAPER = {
    "DeepSeek-R1": ("79.8", "", "97.3", "49.2"),
    "OpenAI-o1-1217": ("79.2", "", "96.4", "48.9"),
    "DeepSeek-V3": ("39.2", "", "90.2", "42.0"),
    "OpenAI-o1-mini": ("63.6", "80.0", "90.0", "41.6"),
    "GPT-4o-0513": ("9.3", "13.4", "74.6", "38.8"),
    "Claude-3.5-Sonnet-1022": ("16.0", "26.7", "78.3", "50.8"),
    "OpenAI-o1-0912": ("74.4", "83.3", "94.8", ""),
    "DeepSeek-R1-Zero": ("71.0", "86.7", "95.9", ""),
    "DeepSeek-R1-Zero-Qwen-32B": ("47.0", "60.0", "91.6", ""),
    "QwQ-32B-Preview": ("50.0", "60.0", "90.6", ""),
    "DeepSeek-R1-Distill-Qwen-1.5B": ("28.9", "52.7", "83.9", ""),
    "DeepSeek-R1-Distill-Qwen-7B": ("55.5", "83.3", "92.8", ""),
    "DeepSeek-R1-Distill-Qwen-14B": ("69.7", "80.0", "93.9", ""),
    "DeepSeek-R1-Distill-Qwen-32B": ("72.6", "83.3", "94.3", "36.8"),
    "DeepSeek-R1-Distill-Llama-8B": ("50.4", "80.0", "89.1", ""),
    "DeepSeek-R1-Distill-Llama-70B": ("70.0", "86.7", "94.5", ""),
}


def test_reference_rows_are_the_papers() -> None:
    table = reference_table()
    rows = {row["model"]: row for row in table.raw.to_dict("records")}
    columns = ("aime24_pass1", "aime24_cons64", "math500_pass1", "swe_verified")
    assert {m: tuple(r[c] for c in columns) for m, r in rows.items()} == PAPER
    assert all(row[1] == "reported, not measured" for row in table.cells)
    assert table.cells[0][0] == "DeepSeek-R1 [1] [2]" and table.cells[0][3] == "—"
    for words in ("77.9", "44.0", "41.7", "30.7", "arXiv:2501.12948"):  # each conflict is footnoted
        assert words in table.note
    assert FILE.suffix == ".csv"


def test_measured_rows_stand_beside_the_reported(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "Not evaluated in toy: aime24, math500, swebench" in literature_table(load_study(folder)).note
    for seed in range(3):
        run = f"grpo-xs-s{seed}-abcd"
        record = evaluation(0.5, split="test", seed=seed, step=6, run_id=run, base="base-xs")
        record.task = "aime24_k"
        write_evaluation(folder / run, record)
    table = literature_table(load_study(folder))
    rows = {row[0]: row for row in table.cells if row[1] == "measured"}
    means = [np.mean(records.read_eval(p).correct) for p in folder.glob("grpo-xs-*/eval/*/aime24_k.json")]
    assert rows["objective=grpo model=xs"][2].startswith(f"{100 * np.mean(means):.1f} [")
    assert rows["objective=grpo model=xs"][2].endswith("(avg@4)")
    assert rows["objective=sft_rejection model=xs"][2] == "—"
    assert len(table.cells) == 2 + len(PAPER) and "Not evaluated in toy: math500, swebench" in table.note


def test_comparison_is_paired_where_seeds_and_problems_are_shared(make_study, tmp_path: Path, capsys) -> None:
    folder = make_study(seeds=3, models=("xs",))
    other = tmp_path / "outputs" / "again"
    shutil.copytree(folder, other)
    for path in other.glob("grpo-xs-s*/eval/step_*/aime_gen_test.json"):
        record = records.read_eval(path)
        for row in record.correct[: 1 + record.eval_sampling_seed]:
            row[0] = 1 - row[0]
        record.answers = [["right" if c else "wrong" for c in row] for row in record.correct]
        records.write_record(path, record)
    cells = {row[0]: row for row in compare_table(load_study(folder), load_study(other)).cells}
    assert "no spread" in cells["objective=sft_rejection model=xs"][3]
    assert "[" in cells["objective=grpo model=xs"][3]
    out = tmp_path / "comparison"
    assert main(["compare", str(folder), str(other), "--out", str(out)]) == 0
    assert "objective=grpo model=xs" in capsys.readouterr().out
    assert {"report.html", "report.md", "compare.csv", "runs.csv", "runs_second.csv"} <= {
        p.name for p in out.iterdir()
    }
    assert (out / "figures" / "compare.png").stat().st_size > 1000
    frame = pd.read_csv(out / "compare.csv").set_index("arm")
    table = compare_table(load_study(folder), load_study(other))
    for which, name in zip(("first", "second"), table.columns[1:3], strict=True):
        rows = [row for row in compare_figure(table).rows if row["series"] == name]
        assert [row["label"] for row in rows] == list(frame.index)
        assert [row["value"] for row in rows] == pytest.approx(list(100 * frame[which]))
        assert [row["low"] for row in rows] == pytest.approx(list(100 * frame[f"{which}_low"]))
    grpo = frame.loc["objective=grpo model=xs"]
    change = [
        np.mean(records.read_eval(other / path.relative_to(folder)).correct)
        - np.mean(records.read_eval(path).correct)
        for path in sorted(folder.glob("grpo-xs-s*/eval/step_*/aime_gen_test.json"))
    ]
    test = sps.ttest_1samp(change, 0)
    assert grpo["difference"] == pytest.approx(np.mean(change)) and grpo["seeds"] == 3
    assert grpo["difference_p_value"] == pytest.approx(test.pvalue)
    assert "do the same arms come out alike?" in (out / "report.md").read_text().splitlines()[0]
    assert main(["compare", str(folder), "literature", "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "reported, not measured" in page and "R1-Distill-Llama-70B" in page


def test_nothing_in_common_is_said(make_study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert main(["compare", str(folder), str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_each_seed_is_paired_on_its_own_problems(make_study, tmp_path: Path) -> None:
    """Seeds may have other problems than each other; a seed whose problems differ between studies is left."""
    folder = make_study(seeds=4, models=("xs",))

    def rename(study: Path, run: str, to: str) -> None:
        (path,) = (study / run).glob("eval/step_*/aime_gen_test.json")
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"problem_ids": [to, *record["problem_ids"][1:]]}))

    rename(folder, "grpo-xs-s1-abcd", "in both studies")
    other = tmp_path / "outputs" / "again"
    shutil.copytree(folder, other)
    for seed in range(4):
        rename(other, f"sft_rejection-xs-s{seed}-abcd", "elsewhere")
    rename(other, "grpo-xs-s2-abcd", "elsewhere")
    table = compare_table(load_study(folder), load_study(other))
    said = dict(zip(table.raw["arm"], zip(table.raw["seeds"], table.raw["said"], strict=True), strict=True))
    assert said["objective=sft_rejection model=xs"] == (0, "not paired: no seed in both on the same problems")
    assert said["objective=grpo model=xs"][0] == 3


def test_what_else_differs_between_two_studies_is_said(make_study, tmp_path: Path) -> None:
    """Arms of one label may hide another rate, base or protocol: the difference is not one of training."""
    folder = make_study(seeds=3, models=("xs",))
    other = tmp_path / "outputs" / "again"
    shutil.copytree(folder, other)
    assert mismatches(load_study(folder), load_study(other)) == []
    for path in other.glob("grpo-xs-s*/run.json"):
        record = json.loads(path.read_text())
        record["config"]["trainer"]["lr"] = 1e-3
        path.write_text(json.dumps(record | {"base_id": "another"}))
    for path in other.glob("sft_rejection-xs-s*/eval/step_*/aime_gen_test.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 0.6, "task_version": 2}))
    report = comparison(load_study(folder), load_study(other))
    grpo, sft = "objective=grpo model=xs", "objective=sft_rejection model=xs"
    assert set(report.notes[:4]) == {
        f"the two studies differ in the version of the grader on aime_gen_test: {sft}",
        f"the two studies differ in trainer.lr (0.0003 and 0.001): {grpo}",
        f"the two studies differ in the base of a seed: {grpo}",
        "the two studies differ in the protocol on aime_gen_test (k, temperature, top-p, new tokens or "
        f"template): {sft}",
    }
    (other / "grpo-xs-s2-abcd" / "run.json").write_text("{")
    assert f"{other}: objective=grpo model=xs: no finished run for seed 2" in "\n".join(
        comparison(load_study(folder), load_study(other)).notes
    )
    columns = compare_table(load_study(folder), load_study(other)).columns
    assert columns[1:3] == [str(folder), str(other)]  # both are called toy


def test_arms_of_one_study_alone_are_named(make_study, tmp_path: Path) -> None:
    folder = make_study(seeds=3)
    other = tmp_path / "outputs" / "again"
    shutil.copytree(folder, other)
    record = json.loads((other / "study.json").read_text())
    record |= {"study": "again", "arms": record["arms"][:3]}
    (other / "study.json").write_text(json.dumps(record))
    notes = comparison(load_study(folder), load_study(other)).notes
    assert notes[0] == "in toy alone, and not compared: objective=grpo model=s"


def test_pass_at_k_is_not_compared_across_k(make_study, tmp_path: Path) -> None:
    folder = make_study(seeds=3, models=("xs",))
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(record | {"primary": {"metric": "pass@k"}}))
    other = tmp_path / "outputs" / "again"
    shutil.copytree(folder, other)
    for path in other.glob("grpo-xs-s*/eval/step_*/aime_gen_test.json"):
        half = records.read_eval(path)
        for name in ("correct", "answers", "stepped", "num_steps", "num_wrong_steps", "lengths", "truncated"):
            setattr(half, name, [row[:2] for row in getattr(half, name)])
        half.k = 2
        records.write_record(path, half)
    cells = {row[0]: row[3] for row in compare_table(load_study(folder), load_study(other)).cells}
    assert cells["objective=grpo model=xs"] == "not paired: another k, on which pass@k depends"
    assert not cells["objective=sft_rejection model=xs"].startswith("not paired")
