"""A full disk is called one, with a path, whatever library met it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harness.launch.run import main
from harness.records.reasons import is_disk_full, naming, reason_of


def raised(outer: Exception, inner: Exception) -> Exception:
    """`outer`, as it is raised while `inner` is handled."""
    try:
        try:
            raise inner
        except Exception:
            raise outer  # noqa: B904
    except Exception as error:
        return error


FULL = OSError(errno.ENOSPC, "No space left on device", "out/resume/state.pt")
TORCH = "[enforce fail at inline_container.cc:672] . unexpected pos 284224 vs 284112"


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (FULL, " (out/resume/state.pt)"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ""),
        (raised(RuntimeError(TORCH), FULL), " (out/resume/state.pt)"),
        (raised(RuntimeError(TORCH), OSError(errno.ENOSPC, "No space left on device")), ""),
        (Exception("No space left on device (os error 28)"), ""),  # tokenizers
    ],
)
def test_a_full_disk_is_the_reason(error: Exception, where: str) -> None:
    rest = "; free some space and launch again: everything written before is intact"
    assert is_disk_full(error) and reason_of(error) == f"the disk is full{where}{rest}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("the loss\nis NaN"), "RuntimeError: the loss is NaN"),
        (EOFError(), "EOFError"),
        (OSError(errno.EIO, "I/O error", "a"), "OSError: [Errno 5] I/O error: 'a'"),
        (RuntimeError(TORCH), f"RuntimeError: {TORCH}"),  # alone: its cause is not known
    ],
)
def test_another_error_is_its_type_and_text(error: Exception, line: str) -> None:
    assert not is_disk_full(error) and reason_of(error) == line


def test_a_name_is_given_to_an_error_without_one_alone(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, naming(tmp_path):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(OSError) as caught, naming(tmp_path):
        raise FULL
    assert caught.value.filename == "out/resume/state.pt"
    with pytest.raises(RuntimeError, match="other"), naming(tmp_path):
        raise RuntimeError("other")


def test_the_command_names_a_full_disk_and_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> int:
        raise FULL

    monkeypatch.setattr("harness.launch.run._run", full)
    assert main(["experiment=smoke"]) == 1
    assert capsys.readouterr().err.startswith(
        "error: the disk is full (out/resume/state.pt); free some space"
    )
