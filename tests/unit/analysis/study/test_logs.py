"""Readers of other tools' logs: grades, damage, mappings; files that no tool wrote stand here as text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from analysis.study.logs.generations import parse_columns, read_generations
from analysis.study.logs.inspect_eval import VALUES, read_inspect
from analysis.study.logs.rows import Occurrences, digest_of, score_of
from analysis.study.logs.sides import Options, grid, is_logs, read_side

LOGS = Path(__file__).resolve().parent / "written_logs"


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("value", "score"),
    [(True, 1.0), (0, 0.0), ("True", 1.0), ("no", 0.0), ("0.25", 0.25), (None, None), (float("nan"), None)],
)
def test_grades(value: object, score: float | None) -> None:
    assert score_of(value, "here") == score


def test_inspects_letters() -> None:
    """C, I, P and N are 1, 0, a half and 0, as Inspect's own value_to_float has it; elsewhere no grade."""
    assert [score_of(letter, "here", VALUES) for letter in "CIPN"] == [1.0, 0.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="'C' is no grade"):
        score_of("C", "here")


@pytest.mark.parametrize("value", [-1, 2.5, float("inf"), [1, 0], {"a": 1}, "maybe"])
def test_what_is_no_grade(value: object) -> None:
    with pytest.raises(ValueError, match=r"here: .*(outside \[0, 1\]|is no grade)"):
        score_of(value, "here")


def test_messages_are_their_roles_and_contents() -> None:
    """Inspect gives every message an id of its own: two logs of one problem would not pair by them."""
    one, two = ([{"role": "user", "content": "1+1?", "id": i}] for i in "ab")
    assert digest_of(one) == digest_of(two) != digest_of([{"role": "system", "content": "1+1?"}])


def test_a_text_that_stands_twice_is_two_problems() -> None:
    keys = Occurrences()
    assert [keys.key("t", "x", n) for n in (4, 7, 4, 7)] == ["x", "x#2", "x", "x#2"]
    assert keys.key("other", "x", 9) == "x"


def test_columns_on_the_command_line_and_in_yaml(tmp_path: Path) -> None:
    expected = {"problem": "question", "correct": "reward>=0.5", "seed": "seed"}
    assert parse_columns("problem=question, correct=reward>=0.5,seed=seed") == expected
    (tmp_path / "map.yaml").write_text("problem: question\ncorrect: reward>=0.5\nseed: seed\n")
    assert parse_columns(str(tmp_path / "map.yaml")) == expected
    with pytest.raises(ValueError, match="give NAME=COLUMN"):
        parse_columns("problem")


def test_seeds_in_a_column_and_samples_that_stand_twice(tmp_path: Path) -> None:
    """By hand: seed 0 has q1 right in 1 of 2 samples, seed 1 in 2 of 2; the bound itself is right by >=."""
    rows = [
        {"question": "q1", "reward": r, "seed": seed, "n": n}
        for seed, rewards in ((0, (0.5, 0.4)), (1, (0.5, 9)))
        for n, r in enumerate(rewards)
    ]
    columns = {"problem": "question", "correct": "reward>=0.5", "seed": "seed", "sample": "n"}
    one = read_side(str(lines(tmp_path / "one.jsonl", rows)), Options(columns))
    two = read_side(str(lines(tmp_path / "two.jsonl", rows[2:])), Options(columns))
    found = grid(one, two, "all")
    assert found.first.tolist() == [[0.5], [1.0]] and found.second.tolist() == [[1.0]]
    assert found.seeds == (["0", "1"], ["1"]) and found.shared == ["1"]
    with pytest.raises(ValueError, match=r"three.jsonl:5: sample 0 of its problem stands there twice"):
        read_side(str(lines(tmp_path / "three.jsonl", [*rows, rows[0]])), Options(columns))


def test_uneven_samples_ungraded_ones_and_other_references_are_said(tmp_path: Path) -> None:
    first = [{"problem": "q1", "correct": c, "reference": "4"} for c in (True, False, None)]
    first.append({"problem": "q2", "correct": True, "reference": "5"})
    second = [{"problem": q, "correct": True, "reference": "4"} for q in ("q1", "q2", "q3")]
    sides = [
        read_side(str(lines(tmp_path / f"{i}.jsonl", r)), Options()) for i, r in ((1, first), (2, second))
    ]
    found = grid(*sides, "all")
    assert dict(zip(found.problems, found.first[0], strict=True)) == {
        digest_of("q1"): 0.5,
        digest_of("q2"): 1.0,
    }
    text = "\n".join(found.notes)
    assert "1 problems are not in every log, and left out of all; 2 stay" in text
    assert "1 to 2 samples a problem; each problem counts once" in text
    assert "1 of 4 samples of" in text and "have no grade" in text
    assert "another reference answer in the two for 1 of 2 problems" in text


def test_seeds_are_read_from_names(tmp_path: Path) -> None:
    for name in ("grpo-seed7", "grpo_s08", "plain"):
        (tmp_path / name).mkdir()
        lines(tmp_path / name / "out.jsonl", [{"problem": "q", "correct": 1}])
    side = read_side(f"{tmp_path}/grpo*", Options())
    assert list(side.rows) == ["7", "8"]
    with pytest.raises(ValueError, match="plain: one of several logs, and no seed in its name"):
        read_side(f"{tmp_path}/grpo-seed7,{tmp_path}/plain", Options())
    with pytest.raises(ValueError, match="seed 7 stands there twice"):
        read_side(f"{tmp_path}/grpo-seed7,7={tmp_path}/plain", Options())


def test_a_log_cut_short_is_no_log(tmp_path: Path) -> None:
    whole = (LOGS / "inspect" / "first_s0.eval").read_bytes()
    cut = tmp_path / "cut.eval"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.eval: not a log of Inspect"):
        read_inspect(cut, metrics=(), tasks=())
    place = whole.index(b"\x28\xb5\x2f\xfd") + 40  # inside the first compressed member
    cut.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    read = read_inspect(cut, metrics=(), tasks=())  # the journal's start, which nothing reads
    assert len(read.rows) == 8
    sample = whole.index(b"samples/1_epoch_1.json") + 60
    cut.write_bytes(whole[:sample] + bytes([whole[sample] ^ 0xFF]) + whole[sample + 1 :])
    with pytest.raises(ValueError, match=r"cut.eval: not a log of Inspect"):
        read_inspect(cut, metrics=(), tasks=())


def test_a_log_that_did_not_end_is_said(tmp_path: Path) -> None:
    """The older form: one JSON file."""
    score = {"scores": {"match": {"value": "C"}, "parts": {"value": {"a": 1, "b": 0}}}}
    samples = [
        {"id": 1, "epoch": 1, "input": "q", "target": "4", **score},
        {"id": 2, "input": "r", "scores": {}},
    ]
    log = {"version": 2, "status": "error", "eval": {"task": "t"}, "samples": samples}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    with pytest.raises(ValueError, match="several metrics; give --metric, one of match; parts/a; parts/b"):
        read_inspect(path, metrics=(), tasks=())
    found = read_inspect(path, metrics=["parts/b"], tasks=())
    assert [row.score for row in found.rows] == [0.0, None]
    assert "its status is error" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"problem": 1', "not valid JSON"), ("[1]\n", "not a JSON object"), ("", "no rows")],
)
def test_damaged_lines_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"x.jsonl.*{said}"):
        read_generations(path, columns={}, step=None, tasks=())


def test_what_counts_as_logs(tmp_path: Path, make_study) -> None:
    assert is_logs(str(LOGS / "verl" / "first")) and is_logs("a/*.eval") and is_logs("0=a,1=b")
    assert not is_logs(str(make_study(seeds=1))) and not is_logs("literature")
    shutil.copy(LOGS / "inspect" / "first_s0.eval", tmp_path)
    assert is_logs(str(tmp_path))
    shutil.copytree(LOGS / "verl" / "first", tmp_path / "verl")
    with pytest.raises(ValueError, match="logs of several tools"):
        read_side(str(tmp_path), Options())
