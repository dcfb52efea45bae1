"""Errors as one line for a reader: a full disk, whatever library met it, and everything else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "Disk quota exceeded", *(f"(os error {number})" for number in _FULL))


def full_disk(error: BaseException | None) -> BaseException | None:
    """The error of a full disk behind `error`, or None.

    torch raises a RuntimeError of its own over the OSError that it met; safetensors and tokenizers have
    errors that say so in their text alone.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in _FULL:
                return error
        elif any(words in str(error) for words in _WORDS):
            return error
        error = error.__cause__ or error.__context__
    return None


def is_disk_full(error: BaseException) -> bool:
    return full_disk(error) is not None


def one_line(error: BaseException) -> str:
    """Type and text without line breaks; the type alone where there is no text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def reason_of(error: BaseException) -> str:
    """One line for a record or a summary."""
    if (full := full_disk(error)) is None:
        return one_line(error)
    name = getattr(full, "filename", None)
    where = f" ({name})" if name else ""
    return f"the disk is full{where}; free some space and launch again: everything written before is intact"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError without a file name this one; raise whatever a full disk causes as such an OSError."""
    try:
        yield
    except Exception as error:
        full = full_disk(error)
        if isinstance(error, OSError):
            error.filename = str(path) if error.filename is None else error.filename
        elif full is not None:
            number = getattr(full, "errno", None) or errno.ENOSPC
            raise OSError(number, "No space left on device", str(path)) from error
        raise
