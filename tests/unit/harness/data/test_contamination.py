"""The scan on texts made for it, and against pairs found by other means in the folder's files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.data import contamination, hendrycks_math
from harness.data.ngrams import scan
from harness.data.normalise import exact_key, words
from harness.data.registry import PUBLISHED
from harness.data.stages import without_duplicates
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


# The numbers 3 and 5 in each: what a scan that reads Latin letters alone would call one text.
UNRELATED = [
    "小红有3支铅笔和5本书，一共有多少件文具？",
    "一块地长3米宽5米，面积是多少？",
    "兄は3歳、姉は5歳です。年齢の差は？",
    "りんごを3個と5個買いました。全部で何個？",
    "Сколько будет сумма 3 и 5?",
    "Найдите произведение чисел 3 и 5.",
    "في السلة 3 تفاحات و 5 برتقالات، كم المجموع؟",
    "มีแมว 3 ตัว และสุนัข 5 ตัว รวมกี่ตัว",
]


def test_unrelated_problems_of_other_scripts_are_no_copies() -> None:
    given = [problem(f"p{i}", text) for i, text in enumerate(UNRELATED)]
    assert without_duplicates(given) == (given, [])
    hits = scan(given, given).hits
    assert {(h.train_id, h.eval_id) for h in hits if h.exact} == {(p.id, p.id) for p in given}
    assert not [h for h in hits if not h.exact]


@pytest.mark.parametrize("text", [*UNRELATED, "If $x=3$, what is $x+5$?"])
def test_a_text_in_full_width_signs_is_a_copy(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    assert wide != text and exact_key(wide) == exact_key(text)
    assert without_duplicates([problem("a", text), problem("b", wide)])[1] == [("a", "b")]


def test_case_accents_and_vowel_signs_tell_words_apart_or_do_not() -> None:
    assert exact_key("СКОЛЬКО будет 3") == exact_key("сколько будет 3")
    assert exact_key("cafe\u0301 3") == exact_key("CAFÉ 3") != exact_key("cafe 3")
    assert exact_key("किताब 3") != exact_key("कुताब 3")  # vowel signs i and u
    assert words("面积3米") == ["面", "积", "3", "米"] and words("площадь 3") == ["площадь", "3"]


def test_a_near_copy_in_chinese_is_seen() -> None:
    text = "小明从家到学校要走一千二百米，每分钟走六十米，他几分钟可以走到学校？"
    near = text.replace("小明", "小华").replace("学校？", "学校呢？")
    far = "商店里有苹果和梨共一百二十个，苹果是梨的两倍，请问苹果比梨多多少个？"
    found = scan([problem("near", near), problem("far", far)], [problem("e", text)])
    assert [(h.train_id, h.exact) for h in found.over(0.5)] == [("near", False)]
    assert found.num_short == 0 and [h.train_id for h in found.hits] == ["near"]


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
