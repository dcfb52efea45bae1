"""Problem files as people write them: what is read, and how what is wrong is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.data import jsonl
from harness.schema.prompts import make_prompt
from harness.types import Problem


def read(path: Path, text: str | bytes, answer_range: tuple[int, int] | None = (0, 999)) -> list[Problem]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return jsonl.load(path, split="test", answer_range=answer_range)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


def test_a_row_becomes_a_problem(path: Path) -> None:
    row = {"question": "2+2", "answer": 4, "subject": "sums", "level": "Level 5", "solution": "count"}
    (found,) = read(path, json.dumps({"id": 7, **row}) + "\n")
    assert found == Problem("7", "mine", "test", "2+2", "4", topic="sums", level=5, solution="count")


def test_rows_of_other_splits_and_blank_lines_are_left_out(path: Path) -> None:
    lines = ['{"problem": "a", "answer": 1, "split": "train"}', "", '{"problem": "b", "answer": 2}', ""]
    (found,) = read(path, "\r\n".join(lines))
    assert (found.id, found.text) == ("mine-3", "b")  # numbered by line, whatever the split


def test_separators_inside_a_text_do_not_end_its_line(path: Path) -> None:
    # JSON allows these inside a string; only the line feed ends a line of JSON Lines.
    text = "a\u2028b\u2029c\x85d"
    (found,) = read(path, json.dumps({"problem": text, "answer": 1}, ensure_ascii=False))
    assert found.text == text


def test_a_byte_order_mark_is_no_part_of_the_first_line(path: Path) -> None:
    assert len(read(path, b'\xef\xbb\xbf{"problem": "a", "answer": 1}')) == 1


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (['{"problem": "a"}'], ["line 1", "no answer"]),
        (['{"problem": "a", "answer": null}'], ["line 1", "no answer"]),
        (['{"problem": " ", "answer": 1}'], ["line 1", "no text"]),
        (['{"problem": "a", "answer": 1}', '{"problem": "a", "answer"'], ["line 2", "not JSON"]),
        (['"a"'], ["line 1", "not a JSON object"]),
        (['{"problem": "a", "answer": 1000}'], ["line 1", "answer='1000'", "data.answer_range=null"]),
        (['{"problem": "a", "answer": "1/2"}'], ["line 1", "answer='1/2'"]),
        (['{"problem": "a", "answer": 1, "level": "hard"}'], ["line 1", "level='hard'"]),
        (
            ['{"problem": "a", "answer": 1, "split": "trian"}'],
            ["line 1", "split='trian'", "perturbed"],
        ),
        (['{"problem": "a", "answer": 1, "split": ["test"]}'], ["line 1", "split=['test']"]),
        (['{"problem": "a", "answer": 1, "exact": "no"}'], ["line 1", "exact='no'", "true or false"]),
        (
            ['{"id": 3, "problem": "a", "answer": 1}', '{"id": "3", "problem": "b", "answer": 2}'],
            ["line 2", "id='3' is line 1's too"],
        ),
        (['{"problem": "a", "answer": 1, "subject": ["x"]}'], ["line 1", "subject: list is no text"]),
        (['{"problem": "a", "answer": 1, "topic": {"x": 1}}'], ["line 1", "topic: dict is no text"]),
        (['{"problem": "a", "answer": 1, "solution": [1]}'], ["line 1", "solution: list is no text"]),
        (['{"problem": "a", "answer": 1, "pair_id": {}}'], ["line 1", "pair_id: dict is no text"]),
        (['{"problem": "a", "answer": 1, "id": [1]}'], ["line 1", "id: list is no text"]),
        (['{"problem": "a", "answer": true}'], ["line 1", "answer: true is no text or number"]),
        (['{"problem": "a", "answer": NaN}'], ["line 1", "answer: nan is no text or number"]),
        (['{"problem": "a", "answer": {"value": 2}}'], ["line 1", "answer: dict is no text or number"]),
        (['{"problem": "a", "answer": ' + "9" * 5000 + "}"], ["line 1", "write it as a text"]),
        (['{"problem": "a", "answer": "' + "9" * 5000 + '"}'], ["line 1", "not an integer from 0 to 999"]),
        (['{"problem": "a", "answer": 1, "level": "' + "9" * 5000 + '"}'], ["line 1", "whole number"]),
        (["[" * 200_000 + "]" * 200_000], ["line 1", "nested too deeply"]),
        (['{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"], ["line 1", "nested too deeply"]),
        ([r'{"problem": "1+1\ud800?", "answer": 1}'], ["line 1", r"problem: \ud800 is half a character"]),
        ([r'{"problem": "a", "answer": "\udc00"}'], ["line 1", r"answer: \udc00 is half a character"]),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_remedy(
    lines: list[str], parts: list[str], path: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        read(path, "\n".join(lines))
    for part in (f"data.path={path}", *parts):
        assert part in str(caught.value)
    assert len(str(caught.value)) < 400  # the value is cut, however long


def test_an_absent_answer_is_no_answer_named_none(path: Path) -> None:
    with pytest.raises(ValueError, match="no answer"):
        read(path, '{"problem": "a", "answer": null}', answer_range=None)
    assert read(path, '{"problem": "a", "answer": "1/2"}', answer_range=None)[0].answer == "1/2"


def test_bytes_that_are_no_text_are_named(path: Path) -> None:
    with pytest.raises(ValueError, match="line 2: not UTF-8 at byte 14"):
        read(path, b'\n{"problem": "\xff"}')


def test_what_is_no_file_is_named_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)  # reading it would wait for a writer
    with pytest.raises(ValueError, match=rf"data.path={path}: a pipe or device; name a JSONL file"):
        jsonl.load(path, split="test", answer_range=None)
    with pytest.raises(ValueError, match=rf"data.path={path.parent}: Is a directory"):
        jsonl.load(path.parent, split="test", answer_range=None)


@pytest.mark.parametrize("answer", ["answer", 0.5, -3, 10**25])
def test_texts_and_numbers_are_answers(answer: str | float, path: Path) -> None:
    row = {"problem": "a", "answer": answer, "subject": 3, "pair_id": 7}
    (found,) = read(path, json.dumps(row), answer_range=None)
    assert (found.answer, found.topic, found.pair_id) == (str(answer), "3", "7")


def test_a_problem_with_braces_is_rendered_as_it_is() -> None:
    problem = Problem("p", "d", "test", r"\frac{1}{2} {problem} {0}", "1")
    prompt = make_prompt(problem, "question", lambda text, _: [len(text)])
    assert prompt.text == "\\frac{1}{2} {problem} {0}\n"
    assert prompt.token_ids == (len(prompt.text),) and prompt.problem_id == "p"
