"""Records survive full disks, kills and damage, and say where the damage is."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from harness.records import records
from harness.records.lines import MetricsWriter, read_metrics, read_samples, write_samples
from harness.records.records import NewerRecord, RecordError, RunRecord, read_run, write_json, write_record

RUN = RunRecord(
    run_id="r",
    study="s",
    status="finished",
    config={},
    seeds={"rollout": 2**63 - 1},
    data_hash="d",
    code={"commit": None},
    packages={},
    hardware={},
    started="2026-01-01T00:00:00+00:00",
)


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_leaves_the_old_file_whole(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"step": 2})
    assert json.loads(path.read_text())["step"] == 1
    assert os.listdir(tmp_path) == ["run.json"]  # and no half of the new one beside it


def test_a_full_disk_leaves_the_old_samples_whole(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl.gz"
    write_samples(path, [{"text": "old"}])

    def rows() -> object:
        yield {"text": "new"}
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_samples(path, rows())
    assert list(read_samples(path)) == [{"text": "old"}]
    assert os.listdir(tmp_path) == ["samples.jsonl.gz"]


def test_samples_are_the_same_bytes_on_any_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path / "a.gz", [{"text": "é\n\u2028", "reward": math.nan}])
    monkeypatch.setattr("time.time", lambda: 0.0)
    write_samples(tmp_path / "b.gz", [{"text": "é\n\u2028", "reward": math.nan}])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert list(read_samples(tmp_path / "a.gz")) == [{"text": "é\n\u2028", "reward": "nan"}]


def test_numbers_that_are_not_finite_come_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsWriter(path).append({"step": 1, "loss": math.nan, "kl": math.inf, "lr": -math.inf, "third": 1 / 3})
    (row,) = read_metrics(path)
    assert math.isnan(row["loss"]) and row["kl"] == math.inf and row["lr"] == -math.inf
    assert row["third"] == 1 / 3  # to the last bit
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()  # neither is JSON


def test_a_record_with_numbers_that_are_not_finite_comes_back(tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", RUN.model_copy(update={"flops": {"trained": math.inf}}))
    found = read_run(tmp_path)
    assert found.flops == {"trained": math.inf} and found.seeds == {"rollout": 2**63 - 1}


def test_unknown_fields_of_a_record_are_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {**RUN.model_dump(), "added_later": 3})
    write_record(tmp_path / "run.json", read_run(tmp_path))
    assert read_run(tmp_path).model_dump()["added_later"] == 3


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_last_line_cut_short_is_left_out(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + '{"step": 2}'[:-1][:cut])
    assert read_metrics(path) == [{"step": 1}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"step": 1}\n{"st\n{"step": 3}\n', 2),
        (b'[1]\n{"step": 2}\n', 1),
        (b'{"step": 1}\n{"step": \xff}\n', 2),
        (b'{"step": 1}\n{"st\n', 2),  # cut, but closed: no kill leaves that
        (b'{"step": 1}{"step": 2}\n', 1),
    ],
)
def test_other_damage_is_named_by_file_and_line(content: bytes, line: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_metrics(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_truncate_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path)
    for step in (1, 2, 3):
        writer.append({"step": step, "loss": math.nan})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # what a kill left
    writer.truncate(2)
    writer.append({"step": 3, "loss": 0.5})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    assert math.isnan(read_metrics(path)[1]["loss"]) and read_metrics(path)[2]["loss"] == 0.5


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "not valid JSON"),
        (b'{"run_id": "r"', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "run_id: field required; launch the run again"),
        (b'{"schema_version": "two"}', "schema_version: "),
        (b'{"schema_version": null}', "schema_version: "),
    ],
)
def test_a_damaged_record_is_a_record_error_that_names_the_file(
    content: bytes, part: str, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_run(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "run.json")) and part in str(caught.value)
    assert not isinstance(caught.value, NewerRecord)


def test_a_record_reads_as_it_was_written_numbers_and_unknown_fields_alike(tmp_path: Path) -> None:
    # Parsed and validated in one go; what json.loads and validation in Python give is the standard.
    text = json.dumps({**RUN.model_dump(), "later": [[1, 0], {"a": 0.1}], "gpu_seconds": 3})
    (tmp_path / "run.json").write_text(text)
    read = read_run(tmp_path)
    assert read == type(RUN).model_validate(json.loads(text))
    assert read.model_dump()["later"] == [[1, 0], {"a": 0.1}]


def test_a_missing_record_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"run\.json: cannot be read \(No such file"):
        read_run(tmp_path)


def test_a_newer_record_is_refused_and_told_apart_from_damage(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {**RUN.model_dump(), "schema_version": records.SCHEMA_VERSION + 1})
    with pytest.raises(NewerRecord, match="schema_version 2 is newer than this program's 1; update it"):
        read_run(tmp_path)
