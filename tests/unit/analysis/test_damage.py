"""A damaged file is named, or read for what it says: no content of any file ends `table` or `report`."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.report.build import build_report
from analysis.report.committed import Committed
from analysis.study.load import load_study
from analysis.study.step_metrics import read_steps
from analysis.tables.table import csv_text, markdown_text
from harness.records.lines import read_completions, write_samples
from harness.records.reading import RecordError, visible
from tests.unit.analysis.mutations import mutated
from tests.unit.analysis.test_bad_input import change, notes

HOSTILE = "\x1b[31mred\x07 <script>alert(1)</script> ![x](http://x.test/x.png)"


def test_metrics_of_any_content_are_read_or_named(tmp_path: Path) -> None:
    rng = random.Random(0)
    lines = [{"step": i, "reward": i / 7, "loss": "nan", "updates": 1} for i in range(1, 9)]
    good = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path, num_named = tmp_path / "metrics.jsonl", 0
    for _ in range(2000):
        path.write_bytes(mutated(good, rng))
        frame, damaged = read_steps([(path, {"run_id": "r"})])
        num_named += len(damaged)
        assert frame["step"].is_monotonic_increasing and frame["step"].is_unique
        assert all(text.startswith(str(path)) and "\n" not in text for text in damaged)
        assert not (damaged and len(frame))
    assert 800 < num_named < 1800  # most mutations are damage; a line less is none, and the report says so


def test_completions_of_any_content_are_read_or_named(tmp_path: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / "x.samples.jsonl.gz"
    row = {
        "problem_id": "p",
        "completion": "1+1=2",
        "correct": True,
        "statements": [[0, 5, True]],
        "length": 3,
    }
    write_samples(path, [row] * 5)
    good, num_named = path.read_bytes(), 0
    for i in range(1000):
        inside = gzip.compress(mutated(gzip.decompress(good), rng))
        path.write_bytes(inside if i % 2 else mutated(good, rng))
        try:
            assert all(isinstance(row["completion"], str) for row in read_completions(path))
        except RecordError as error:
            num_named += 1
            assert str(error).startswith(f"{path}:")
    assert 500 < num_named < 950


def test_any_damage_to_any_record_leaves_the_table(make_study, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 with what is whole, or 2 and one line that names a file or a setting of the study."""
    folder = make_study(seeds=3, models=("xs",))
    rng = random.Random(2)
    kinds = ("*/study.json", "toy/*/run.json", "bases/*/base.json", "*/*/eval/*/*.json")
    for i in range(48):
        path = rng.choice(sorted(folder.parent.glob(kinds[i % 4])))
        before = path.read_bytes()
        path.write_bytes(mutated(before, rng))
        code, said = main(["table", str(folder)]), capsys.readouterr()
        assert code == 0 or (code == 2 and said.err.count("\n") == 1), said.err
        assert code == 0 or str(path) in said.err or "primary" in said.err
        assert visible(said.out) == said.out and visible(said.err) == said.err
        path.write_bytes(before)


def test_a_first_null_in_the_metrics_is_named(make_study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(seeds=3, models=("xs",))
    path = folder / "grpo-xs-s1-abcd" / "metrics.jsonl"
    path.write_bytes(b"null\n" + path.read_bytes())
    assert main(["table", str(folder)]) == 0
    remedy = f"delete {path.parent} and launch the run again to train it anew"
    assert f"note: {path}:1: not a JSON object; {remedy}" in capsys.readouterr().err


def test_steps_that_are_missing_anywhere_are_said(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    path = folder / "grpo-xs-s1-abcd" / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[1:2], *lines[4:]]))
    assert "grpo-xs-s1-abcd: metrics.jsonl lacks step 1, 3–4 of 6; curves" in notes(folder)
    change(path.parent / "run.json", status="running", steps_done=0)
    path.write_text("".join([*lines[:2], *lines[3:5]]))  # it goes on: the last steps are not due yet
    assert "grpo-xs-s1-abcd: metrics.jsonl lacks step 3 of 5" in notes(folder)
    path.write_text("".join(lines[:4]))
    assert "metrics.jsonl" not in notes(folder)


def test_a_damaged_base_is_named_and_a_missing_one_is_not(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    path = folder.parent / "bases" / "base-xs" / "base.json"
    assert load_study(folder).runs["parameters"].tolist() == [10**5] * 6
    path.write_text("")
    said = f"{path}: not valid JSON (EOF while parsing a value at line 1 column 0); launch a run"
    assert said in notes(folder) and "its size is not shown" in notes(folder)
    path.unlink()
    assert "base.json" not in notes(folder)


def test_a_study_with_a_damaged_pilot_is_read_without_its_plan(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    change(folder / "study.json", pilot=[{"tried": {}, "chosen": 1e-3, "edge": False}])
    said = f"{folder / 'study.json'}: pilot.0.arm: field required; launch the study again to rewrite it; arms"
    assert said in notes(folder)


def test_an_evaluation_with_other_lengths_is_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    (path,) = (folder / "grpo-xs-s1-abcd").glob("eval/*/aime_gen_test.json")
    record = json.loads(path.read_text())
    change(path, problem_ids=record["problem_ids"][1:])
    assert f"{path}: problem_ids: 19 of 20 problems; its checkpoint is gone: delete" in notes(folder)
    change(path, problem_ids=record["problem_ids"], lengths=[row[1:] for row in record["lengths"]])
    assert f"{path}: lengths: not 4 samples of each of 20 problems" in notes(folder)


def test_a_run_folder_that_the_study_does_not_plan_is_mentioned(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "in no arm" not in notes(folder)
    copy = folder / "grpo-xs-s9-copy"
    copy.mkdir()
    (copy / "run.json").write_bytes((folder / "grpo-xs-s0-abcd" / "run.json").read_bytes())
    said = "a run folder is in no arm of the study, and in no table of arms: grpo-xs-s9-copy"
    assert said in notes(folder)


def renamed(folder: Path, label: str) -> None:
    """Give the level `grpo`, and so the arm, a name from outside."""
    text = (folder / "study.json").read_text()
    study = json.loads(text)
    study["factors"]["objective"][1] = label
    arm = study["arms"][1]
    arm["label"], arm["levels"]["objective"] = label, label
    (folder / "study.json").write_text(json.dumps(study))


@pytest.mark.parametrize("label", [r"$\foo^$", r"$x_{1$ and \frac", HOSTILE, "a_b^c % & # {x}"])
def test_an_arm_of_any_name_is_drawn(label: str, make_study) -> None:
    """Text in figures is text: no notation in it is read, and it stays XML."""
    folder = make_study(seeds=3, models=("xs",))
    renamed(folder, label)
    (figure,) = (f for f in build_report(load_study(folder)).figures if f.name == "differences")
    words = re.sub(r"<[^>]*>", " ", figure.svg)
    first = visible(label).split()[0].replace("&", "&amp;")
    assert first[:12] in words and figure.inline(356) and "<script" not in figure.svg


def test_nothing_that_a_record_says_reaches_a_terminal_or_a_page_as_more_than_text(
    make_study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study(seeds=3, models=("xs",))
    renamed(folder, HOSTILE)
    change(folder / "study.json", question=HOSTILE, command=f"{HOSTILE}\n```\n{HOSTILE}")
    change(folder / "grpo-xs-s0-abcd" / "run.json", status="failed", reason=HOSTILE)
    odd = folder / "\x1b[2J"
    odd.mkdir()
    (odd / "run.json").write_text("{}")
    for command in (["table", str(folder)], ["report", str(folder), "--out", str(tmp_path / "r")]):
        assert main(command) == 0
        said = capsys.readouterr()
        assert visible(said.out) == said.out and visible(said.err) == said.err
        assert r"\x1b[31mred\x07" in said.out and r"\x1b[2J: left out; rename the folder" in said.err
    written = (tmp_path / "r" / "report.md").read_text()
    fence = written.index("```")
    assert "<script" not in written[:fence] and "](http" not in written[:fence] and "\x1b" not in written
    assert written.count("\n```\n") == 2  # the command did not end its own block


def test_a_text_that_begins_as_a_formula_is_marked_and_numbers_are_not() -> None:
    frame = pd.DataFrame(
        {
            "arm": ["=cmd|'/C calc'!A0", "+1+2", "-2+3", "@SUM(A1)", "\t=1", "a=b", "-0.5", "+1e-3", None],
            "x": [-0.5, -1.0, float("-inf"), 1e-9, 0.0, 1.0, 2.0, float("nan"), -3.0],
            "=y": [-1, 2, 3, 4, 5, 6, 7, 8, 9],
        }
    )
    lines = csv_text(frame).splitlines()
    assert lines[0] == "arm,x,'=y" and lines[1] == "'=cmd|'/C calc'!A0,-0.5,-1"
    starts = ["'+1+2,-1.0,", "'-2+3,-inf,", "'@SUM(A1),", "'\t=1,", "a=b,", "-0.5,2.0", "+1e-3,,8", ",-3.0,9"]
    assert [line.startswith(start) for line, start in zip(lines[2:], starts, strict=True)] == [True] * 8


def test_markdown_keeps_signs_and_loses_elements() -> None:
    assert markdown_text("p < 0.05 [0.1, 0.2]\n<b>x</b> <!-- --> ![a](b)") == (
        "p < 0.05 [0.1, 0.2] &lt;b>x&lt;/b> &lt;!-- --> ![a]&#40;b)"
    )


def test_a_damaged_committed_file_is_named(
    make_study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, kept = make_study(seeds=4, models=("xs",)), tmp_path / "ref" / "kept"
    renamed(folder, "-grpo")
    assert main(["report", str(folder), "--reference", str(kept), "--figures", "differences"]) == 0
    assert "'-grpo," in (kept / "arms.csv").read_text()
    assert "-grpo" in set(Committed.read(kept).table("arms")["arm"])  # as the plan calls it
    assert main(["findings", str(kept.parent)]) == 0
    for name in ("finding.json", "study.json", "arms.csv", "evaluations.csv.gz", "provenance.json"):
        whole = (kept / name).read_bytes()
        for damage in (b"", b"null", b"\xe3\x00", b"[" * 9999):
            (kept / name).write_bytes(damage)
            capsys.readouterr()
            assert main(["findings", str(kept.parent)]) == 2, (name, damage)
            said = capsys.readouterr().err
            assert str(kept / name) in said and said.count("\n") == 1
            assert main(["list", str(kept.parent)]) == 0
        (kept / name).write_bytes(whole)
