"""Whatever a file holds, its reader returns what was asked for or one line that names it."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from harness.records.lines import read_completions, read_metrics, read_samples, write_samples
from harness.records.reading import RecordError, read_json, visible
from harness.records.records import again, read_study, write_json

STUDY = {
    "study": "s",
    "question": "?",
    "factors": {},
    "seeds": [0],
    "control": {},
    "arms": [{"label": "a", "levels": {}, "overrides": [], "runs": {"0": "r"}}],
    "shared_base": True,
    "command": "",
}
ROW = {"problem_id": "p", "completion": "1+1=2", "correct": True}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not valid JSON (EOF while parsing"),
        (b"null", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b'{"a": 1', "not valid JSON (EOF while parsing"),
        (b'{"a": "\xe3"}', "not valid JSON ("),
        (b"\xff\xfe{\x00}\x00", "not valid JSON ("),
        (b"[" * 100_000, "not valid JSON (recursion limit exceeded"),
        (b'{"a": ' * 100_000, "not valid JSON (recursion limit exceeded"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON (number out of range"),
        (b'{"a": "\\ud800"}', "not valid JSON ("),  # half a character, which no file can be written with
        (b'{"a": "\\u001b["', "not valid JSON ("),
        (b'{"a": [1, "two"]}', "a: input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_json(path, dict[str, int], remedy="make it again")
    assert str(caught.value).startswith(f"{path}: {why}") and str(caught.value).endswith("; make it again")
    assert "\n" not in str(caught.value) and f"{caught.value.what}; make it again" == str(caught.value)


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(RecordError, match=f"{name}: not a file; delete it, then make it again"):
            read_json(tmp_path / name, dict[str, int], remedy="make it again")
    with pytest.raises(RecordError, match=r"none: cannot be read \(No such file or directory\); make it"):
        read_json(tmp_path / "none", dict[str, int], remedy="make it again")
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(RecordError, match="not a file"):
        read_metrics(tmp_path / "metrics.jsonl")
    os.mkfifo(tmp_path / "x.gz")
    with pytest.raises(RecordError, match="not a file"):
        list(read_samples(tmp_path / "x.gz"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pilot": [{"tried": {}, "chosen": 1.0, "edge": False}]}, "pilot.0.arm: field required"),
        ({"pilot": [{"arm": "a", "tried": {"x": {}}, "chosen": 1.0, "edge": False}]}, "pilot.0.tried.x."),
        ({"primary": {"metric": 3}}, "primary.metric: input should be a valid string"),
        ({"declared": {"family": "grpo"}}, "declared.family: input should be a valid "),
        ({"seeds": [10**30]}, "seeds.0: "),
        (
            {"arms": [STUDY["arms"][0] | {"runs": {"0": "../../etc"}}]},
            "arms.0.runs.0: not the name of a folder",
        ),
        ({"arms": [STUDY["arms"][0] | {"runs": {"²": "r"}}]}, "arms.0.runs."),
    ],
)
def test_fields_of_the_wrong_kind_are_named(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    write_json(tmp_path / "study.json", STUDY | changes)
    with pytest.raises(RecordError) as caught:
        read_study(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'study.json'}: {why}")
    assert str(caught.value).endswith("; launch the study again to rewrite it")


def test_control_characters_come_back_written_out_and_other_text_as_it_is(tmp_path: Path) -> None:
    text = "\x1b[31mred\x07 \x7f\x9b2J\ufffe, tab\tand\nline, ≥ é 數 😀 \\x1b"
    write_json(tmp_path / "study.json", STUDY | {"question": text, "\x1b[2J": text})
    shown = "\\x1b[31mred\\x07 \\x7f\\x9b2J\\ufffe, tab\tand\nline, ≥ é 數 😀 \\x1b"
    assert read_study(tmp_path).question == shown == visible(text)
    assert read_study(tmp_path).model_extra == {"\\x1b[2J": shown}
    raw = json.dumps(
        STUDY | {"question": text[:5] + text[10:]}, ensure_ascii=False
    )  # some of them not escaped
    (tmp_path / "study.json").write_text(raw, encoding="utf-8")
    assert read_study(tmp_path).question == visible(text[:5] + text[10:])


def test_numbers_are_read_to_the_last_bit(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [{"step": i, "x": rng.uniform(-1, 1) * 10 ** rng.randrange(-300, 300)} for i in range(2000)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_metrics(path) == rows


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"statements": [[1]]}, "statements.0."),
        ({"completion": None}, "completion: input should be a valid string"),
        ({"length": "long"}, "length: "),
    ],
)
def test_a_damaged_completion_is_named_by_its_line(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = tmp_path / "x.samples.jsonl.gz"
    write_samples(path, [ROW, ROW | {"statements": [[0, 5, True]], "sample_idx": None}])
    assert [row["problem_id"] for row in read_completions(path)] == ["p", "p"]
    write_samples(path, [ROW, ROW | changes])
    with pytest.raises(RecordError, match=f"{path}:2: {why}"):
        list(read_completions(path))


@pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: b"", lambda d: d[:30] + b"\x00" * 9 + d[39:]])
def test_damaged_gzip_is_named(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    write_samples(path, [ROW] * 50)
    path.write_bytes(damage(path.read_bytes()) or b"no gzip")
    for read in (read_samples, read_completions):
        with pytest.raises(RecordError, match=f"{path}:.*delete it and the .json file of its name"):
            list(read(path))
    path.write_bytes(gzip.compress(b"null\n"))
    for read in (read_samples, read_completions):
        with pytest.raises(RecordError, match=f"{path}:1: "):
            list(read(path))


def test_the_remedy_for_an_evaluation_depends_on_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run" / "eval" / "step_000004-key" / "t.json"
    said = f"its checkpoint is gone: delete {tmp_path / 'run'} and launch the run again to train it anew"
    assert again(path) == said
    (tmp_path / "run" / "checkpoints" / "step_000004").mkdir(parents=True)
    assert again(path).startswith("launch the run again to evaluate it again")
    assert again(tmp_path / "b" / "eval" / "base-key" / "t.json").startswith("launch the run again")
