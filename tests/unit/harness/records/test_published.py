"""What is published is on the disk before a record says so, and is checked when it is used."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.records import published
from harness.records.lines import (
    MetricsWriter,
    leading_lines,
    read_metrics,
    sums_of,
    write_samples,
    write_sums,
)
from harness.records.published import MANIFEST, Damaged, checked, publish, remedy, replacing, verify
from harness.records.records import RecordError, read_run, write_json, write_record, write_text
from tests.damage import DAMAGE, flip
from tests.unit.harness.records.test_records import RUN

OWN = {"owner": "run-a", "step": 2}


def fill(folder: Path) -> None:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "weights").write_bytes(bytes(range(256)))
    (folder / "config.json").write_text('{"hidden_size": 16}')


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """Every os.fsync, os.rename and os.replace, with the name that it is about (after a renaming)."""
    seen: list[tuple[str, str]] = []
    opened: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "rename", "replace")}

    def name_of(path: object) -> str:
        inside = os.path.relpath(str(path), tmp_path)
        return "/".join("TMP" if part.endswith(".tmp") else part for part in inside.split("/"))

    def opening(path: object, *args: object, **kwargs: object) -> int:
        descriptor: int = real["open"](path, *args, **kwargs)
        opened[descriptor] = name_of(path)
        return descriptor

    def syncing(descriptor: int) -> None:
        seen.append(("fsync", opened[descriptor]))
        real["fsync"](descriptor)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fsync", syncing)
    for name in ("rename", "replace"):
        monkeypatch.setattr(
            os, name, lambda a, b, name=name: (seen.append((name, name_of(b))), real[name](a, b))
        )
    return seen


def test_a_folder_is_synced_inside_out_before_and_after_its_renaming(
    calls: list[tuple[str, str]], tmp_path: Path
) -> None:
    publish(tmp_path / "checkpoints" / "step", fill, identity=OWN)
    write_text(tmp_path / "run.json", "the record")
    assert calls == [
        ("fsync", "."),  # the entry of the folder around it
        ("fsync", "checkpoints/TMP/adapter/weights"),
        ("fsync", "checkpoints/TMP/config.json"),
        ("fsync", f"checkpoints/TMP/{MANIFEST}"),
        ("fsync", "checkpoints/TMP/adapter"),
        ("fsync", "checkpoints/TMP"),
        ("rename", "checkpoints/step"),
        ("fsync", "checkpoints"),
        ("fsync", "TMP"),  # the record's content
        ("replace", "run.json"),
        ("fsync", "."),
    ]


@pytest.mark.parametrize("kind", ["text", "record", "samples", "truncated metrics"])
def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(
    kind: str, calls: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text('{"step": 1}\n')
    write: dict[str, Callable[[], object]] = {
        "text": lambda: write_text(path, "new"),
        "record": lambda: write_record(path, RUN),
        "samples": lambda: write_samples(path, [{"text": "new"}]),
        "truncated metrics": lambda: MetricsWriter(path).truncate(1),
    }
    write[kind]()
    entry = [] if kind == "samples" else [("fsync", ".")]  # the record that follows them syncs it
    assert calls == [("fsync", "TMP"), ("replace", "file"), *entry]


def test_a_folder_in_a_files_place_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.json"
    path.mkdir()
    (path / "own.txt").write_text("mine")
    write_text(path, "{}")
    (aside,) = tmp_path.glob("data.json.damaged-*")
    assert path.read_text() == "{}" and (aside / "own.txt").read_text() == "mine"
    assert (
        capsys.readouterr().err == f"warning: {path}: a folder where a file belongs; it is {aside.name} now\n"
    )


def test_a_file_system_that_syncs_no_folders_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def no_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    def nothing(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", no_folders)
    write_text(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "new"
    monkeypatch.setattr(os, "fsync", nothing)
    with pytest.raises(OSError, match="Invalid argument"):  # a file's content is another matter
        write_text(tmp_path / "run.json", "newer")
    assert (tmp_path / "run.json").read_text() == "new"


def test_the_manifest_names_every_file_and_whose_they_are(tmp_path: Path) -> None:
    publish(tmp_path / "step", fill, identity=OWN)
    manifest = json.loads((tmp_path / "step" / MANIFEST).read_text())
    assert manifest["identity"] == OWN and manifest["files"].keys() == {"adapter/weights", "config.json"}
    # printf '{"hidden_size": 16}' | sha256sum
    digest = "2eda76aa826a2b7b7d9609b6120972f6637700a21a48b1a56ed3a57720fe4ab0"
    assert manifest["files"]["config.json"] == {"size": 19, "sha256": digest}
    verify(tmp_path / "step", OWN)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["adapter/weights", "config.json", MANIFEST])
def test_damage_of_any_file_is_named_and_written_anew(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = tmp_path / "run-a" / "checkpoints" / "step"
    publish(step, fill, identity=OWN)
    verify(step, OWN)
    DAMAGE[damage](step / name)
    if (name, damage) == (MANIFEST, "deleted"):
        verify(step, OWN)  # as a folder from before there were manifests
        return
    if (name, damage) == (MANIFEST, "a flipped bit"):  # in a digest, a name, a size or the JSON itself
        with pytest.raises(Damaged):
            verify(step, OWN)
        return
    with pytest.raises(Damaged) as caught:
        verify(step, OWN)
    assert str(caught.value).startswith(f"{step / name}: ") and "\n" not in str(caught.value)
    assert f"; delete {step.parent} and launch again" in str(caught.value)
    publish(step, fill, identity=OWN)
    verify(step, OWN)
    assert (step / "adapter" / "weights").read_bytes() == bytes(range(256))
    assert f"warning: {step / name}: " in capsys.readouterr().err


def test_a_byte_that_changes_in_place_is_noticed_though_size_and_time_stay(tmp_path: Path) -> None:
    step = tmp_path / "step"
    publish(step, fill, identity=OWN)
    verify(step)
    before = (step / "config.json").stat()
    flip(step / "config.json")
    os.utime(step / "config.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(Damaged, match=r"config\.json: its content is not what was written"):
        verify(step)


def test_a_whole_folder_is_hashed_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "step", fill, identity=OWN)
    verify(tmp_path / "step")
    monkeypatch.setattr(published, "_fingerprint", lambda path: pytest.fail(f"{path} read again"))
    verify(tmp_path / "step", OWN)


def test_the_folder_of_another_run_or_step_is_refused(tmp_path: Path) -> None:
    publish(tmp_path / "a", fill, identity=OWN)
    with pytest.raises(Damaged, match="made for owner=run-a step=2, not for owner=run-b step=2"):
        verify(tmp_path / "a", {"owner": "run-b", "step": 2})
    with pytest.raises(Damaged, match="not for owner=run-a step=4"):
        verify(tmp_path / "a", {"owner": "run-a", "step": 4})


def test_published_files_have_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    def private(folder: Path) -> None:
        (folder / "model.safetensors").touch(mode=0o600)

    before = os.umask(0o022)
    try:
        publish(tmp_path / "open", private, identity={})
        os.umask(0o077)
        publish(tmp_path / "closed", private, identity={})
    finally:
        os.umask(before)
    modes = [(tmp_path / name / "model.safetensors").stat().st_mode & 0o777 for name in ("open", "closed")]
    assert modes == [0o644, 0o600]


def test_a_published_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "checkpoints" / "step_000002"

    def half(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        assert not target.exists()
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        publish(target, half, identity=OWN)
    assert not list((tmp_path / "checkpoints").iterdir())
    publish(target, fill, identity=OWN)
    assert [p.name for p in target.parent.iterdir()] == ["step_000002"]


def test_what_is_whole_is_not_written_again_unless_that_is_asked_for(tmp_path: Path) -> None:
    publish(tmp_path / "model", lambda folder: (folder / "a").write_text("first"), identity={})
    publish(tmp_path / "model", lambda folder: pytest.fail("written twice"), identity={})
    assert (tmp_path / "model" / "a").read_text() == "first"
    publish(tmp_path / "model", lambda folder: (folder / "b").write_text("new"), identity={}, again=True)
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["b", MANIFEST]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors and tokenizers
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_an_error_of_the_disk_that_names_the_place(error: Exception, tmp_path: Path) -> None:
    def full(target: Path) -> None:
        (target / "half").touch() if target.is_dir() else target.touch()
        raise error

    with pytest.raises(OSError) as caught:
        publish(tmp_path / "model", full, identity={})
    assert caught.value.errno in (errno.ENOSPC, errno.EDQUOT)
    assert caught.value.filename == str(tmp_path / "model")
    with pytest.raises(OSError) as caught, replacing(tmp_path / "file") as target:
        full(target)
    assert caught.value.errno in (errno.ENOSPC, errno.EDQUOT)
    assert not list(tmp_path.iterdir())


def test_a_temporary_name_is_no_other_processs_even_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in every container
    names = {published.temporary_of(tmp_path / "file").name for _ in range(100)}
    assert len(names) == 100 and all(n.startswith(".file.") and n.endswith(".tmp") for n in names)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("s/run/checkpoints/step_000004", "delete s/run/checkpoints and launch again"),
        ("s/run/reward_model", "delete s/run/reward_model and launch again"),
        ("s/run/offline/accepted.jsonl.gz", "delete s/run/offline and launch again"),
        ("s/run/resume/step_000004/state.pt", "delete s/run/resume and launch again"),
        ("bases/xs-1/model/config.json", "delete bases/xs-1/model and launch again"),
        ("bases/xs-1/verifiers/outcome-1", "delete bases/xs-1/verifiers/outcome-1 and launch again"),
        ("elsewhere/Qwen", "restore the file"),
    ],
)
def test_the_remedy_names_what_to_delete(path: str, text: str) -> None:
    assert remedy(Path(path)).startswith(text)


@checked
def _load(folder: Path, content: object) -> object:
    if isinstance(content, Exception):
        raise content
    return content


def test_errors_of_a_loader_name_the_folder_once(tmp_path: Path) -> None:
    step = tmp_path / "checkpoints" / "step"
    assert _load(step, 3) == 3
    with pytest.raises(Damaged) as caught:
        _load(step, EOFError())
    assert str(caught.value) == (
        f"{step}: cannot be read (EOFError); delete {step.parent} and launch again: the run is trained anew"
    )
    inner = Damaged("inner: broken", "mend it")
    with pytest.raises(Damaged, match=r"^inner: broken; mend it$"):
        _load(step, inner)
    with pytest.raises(MemoryError):
        _load(step, MemoryError())
    with pytest.raises(ValueError, match=r"^unsupported$"):  # a user's own folder: the loader knows better
        _load(tmp_path / "mine", ValueError("unsupported"))
    with pytest.raises(Damaged, match=r"mine: cannot be read \(KeyError: 'rms'\); restore"):
        _load(tmp_path / "mine", KeyError("rms"))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named(damage: str, tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", RUN)
    assert read_run(tmp_path) == RUN
    DAMAGE[damage](tmp_path / "run.json")
    with pytest.raises(RecordError) as caught:
        read_run(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'run.json'}: ")


def test_any_flipped_bit_of_a_record_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", RUN)
    whole = (tmp_path / "run.json").read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        (tmp_path / "run.json").write_bytes(data)
        try:
            found = read_run(tmp_path)
        except RecordError:
            continue
        assert found.model_dump(exclude={"checksum"}).items() >= RUN.model_dump().items(), place


def test_a_record_without_a_checksum_and_one_that_is_written_again_are_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN.model_dump()))
    assert read_run(tmp_path) == RUN
    for _ in range(2):
        write_record(tmp_path / "run.json", read_run(tmp_path))
    assert read_run(tmp_path) == RUN
    assert (tmp_path / "run.json").read_text().count("checksum") == 1
    write_json(tmp_path / "run.json", {**RUN.model_dump(), "checksum": "an older program's copy"})
    assert read_run(tmp_path) == RUN


def test_any_flipped_bit_of_complete_metrics_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.append({"step": 1, "loss": 0.25})
    assert len(read_metrics(path)) == 1
    write_sums(path)
    whole = path.read_bytes()
    assert sums_of(path).read_text().endswith("  metrics.jsonl\n") and len(read_metrics(path)) == 1
    for place in range(8 * len(whole)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(RecordError, match=r"metrics\.jsonl: its content is not what was written"):
            read_metrics(path)
    path.write_bytes(whole)
    writer.truncate(1)  # the run goes on
    writer.append({"step": 2, "loss": 0.5})
    assert len(read_metrics(path)) == 2


def test_a_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    publish(tmp_path / "a", fill, identity=OWN)
    path = tmp_path / "a" / MANIFEST
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), 7):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        if json_of(data) == json_of(whole):
            continue  # the checksum's own name: an unsigned manifest that says the same
        with pytest.raises(Damaged, match="manifest"):
            verify(tmp_path / "a", OWN)


def json_of(data: bytes) -> object:
    try:
        return {k: v for k, v in json.loads(data).items() if k in ("identity", "files")}
    except ValueError:
        return None


def test_steps_of_metrics_count_up_to_the_first_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert leading_lines(path) == []
    rows = [f'{{"step": {i}, "loss": 0.5}}\n' for i in range(1, 5)]
    for content, steps in [
        (rows, 4),
        (rows[1:], 0),
        ([rows[0], *rows[2:]], 1),
        ([*rows[:2], '{"st\n', rows[3]], 2),
        ([*rows[:3], rows[3][:-1]], 3),  # its line may have been cut just there
        (["null\n"], 0),
        (["[" * 100_000 + "\n"], 0),
    ]:
        path.write_text("".join(content))
        assert len(leading_lines(path)) == steps, content[0][:40]
    path.unlink()
    path.mkdir()
    assert leading_lines(path) == []
    shutil.rmtree(path)
