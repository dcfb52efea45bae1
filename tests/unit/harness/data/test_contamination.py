"""The scan on texts made for it, and against pairs found by other means in the folder's files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.data import contamination, hendrycks_math
from harness.data.ngrams import scan
from harness.data.registry import PUBLISHED
from harness.types import Problem

needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
TWENTY = [f"word{i}" for i in range(20)]  # 20 words: 8 13-grams


def problem(name: str, text: str) -> Problem:
    return Problem(name, "d", "train", text, "1")


def test_a_copy_and_a_run_of_thirteen_words_are_found() -> None:
    train = [
        problem("copy", " ".join(TWENTY).upper() + "."),
        problem("run", "before " + " ".join(TWENTY[:14]) + " after"),  # 14 shared words: 2 of the 8 13-grams
        problem("twelve", " ".join(TWENTY[:12]) + " and no more"),
    ]
    found = scan(train, [problem("e", " ".join(TWENTY)), problem("short", "two words")])
    assert [(h.train_id, h.exact, h.share) for h in found.hits] == [
        ("copy", True, 1.0),
        ("run", False, 2 / 8),
    ]
    assert found.num_short == 1
    assert [h.train_id for h in found.over(0.5)] == ["copy"]
    assert [h.train_id for h in found.over(0.25)] == ["copy", "run"]


def test_a_short_problem_is_found_as_a_copy() -> None:
    found = scan([problem("t", "Find $2+2$.")], [problem("e", "find 2 + 2"), problem("f", "find 2 - 2")])
    assert [(h.eval_id, h.exact) for h in found.hits] == [("e", True)]


def test_a_phrase_of_many_problems_is_counted_apart() -> None:
    phrase = " ".join(f"common{i}" for i in range(13))
    train = [problem(f"t{i}", f"{phrase} own{i}") for i in range(3)]
    found = scan(train, [problem("e", f"something else {phrase}")])  # 3 + 1 problems hold it
    assert len(found.hits) == 3 and all(h.phrases for h in found.hits)
    report = found.report()
    assert (report["any_13gram"], report["any_13gram_not_phrase"], report["over_share"]) == (1, 0, 0)
    assert not any(h.phrases for h in scan(train[:1], [problem("e", f"something else {phrase}")]).hits)


def test_a_report_has_ids_and_no_text() -> None:
    report = scan([problem("t", " ".join(TWENTY))], [problem("e", " ".join(TWENTY))]).report()
    assert report["pairs"] == [{"train_id": "t", "eval_id": "e", "exact": True, "share": 1.0}]
    assert "word" not in json.dumps(report)


@needs_data
def test_the_pairs_of_the_folders_overlap_file_are_found() -> None:
    known = json.loads((Path(os.environ["MATH_DATA_DIR"]) / "overlap.json").read_text(encoding="utf-8"))
    half = {(c["train_set"], c["eval_set"]): c["half_of_13grams"] for c in known["counts"]}
    listed = {(p["train_id"], p["eval_id"]) for p in known["pairs"] if (p["share"] or 0) >= 0.5}
    sources = {"math_train": hendrycks_math.TRAIN, "aime_1983_2023": PUBLISHED["aime_1983_2023"].SOURCE}
    for train, source in sources.items():
        found = scan(source.load("train"), PUBLISHED["math500"].load("test"))
        over = {(h.train_id, h.eval_id) for h in found.hits if h.share >= 0.5}
        assert len({e for _, e in over}) == half[train, "math500"]
        assert over == {pair for pair in listed if pair[1].startswith("math500") and pair[0][:4] == train[:4]}


@needs_data
def test_no_aime_problem_of_24_or_25_is_in_a_training_file() -> None:
    train = [*PUBLISHED["aime_1983_2023"].SOURCE.load("train"), *hendrycks_math.TRAIN.load("train")]
    for name in ("aime24", "aime25"):
        assert scan(train, PUBLISHED[name].load("test")).over(0.5) == []


def test_the_command_scans_files_and_writes_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("train", " ".join(TWENTY)), ("eval", " ".join(TWENTY))):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"problem": text, "answer": 1, "id": name}) + "\n")
    out = tmp_path / "report.json"
    arguments = ["--train", str(tmp_path / "train.jsonl"), "--eval", str(tmp_path / "eval.jsonl")]
    assert contamination.main([*arguments, "--out", str(out)]) == 0
    (report,) = json.loads(out.read_text())
    assert report["exact"] == 1 and report["pairs"][0]["train_id"] == "train"
    assert "copies" in capsys.readouterr().out


@needs_data
def test_the_command_sees_what_a_preset_would_drop(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    for extra, expected in (([], 7), (["--as-trained"], 0)):
        arguments = ["--train", "aime_1983_2023", "--eval", "math500", "--out", str(out), *extra]
        assert contamination.main(arguments) == 0
        assert json.loads(out.read_text())[0]["over_share"] == expected


def test_the_command_names_what_it_cannot_find(capsys: pytest.CaptureFixture[str]) -> None:
    assert contamination.main(["--train", "maht", "--eval", "aime24"]) == 2
    assert "data=maht: no such preset" in capsys.readouterr().err


def test_the_command_checks_where_it_writes_before_it_scans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out, message in ((tmp_path / "nope" / "r.json", "there is no folder"), (tmp_path, "it is a folder")):
        assert contamination.main(["--train", "maht", "--eval", "aime24", "--out", str(out)]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith(f"error: --out {out}: {message}") and shown.err.count("\n") == 1
        assert not shown.out
