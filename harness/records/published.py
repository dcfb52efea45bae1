"""Files and folders that outlive a power cut, and that are checked when they are used. Imports no torch.

A file or folder is written under a temporary name, synced, renamed, and its parent is synced: it is whole or
absent, and what a record says is there is on the disk. A published folder has a `manifest.json`:

    {"identity": {"run_id": "grpo-…", "step": 24}, "files": {"config.json": {"size": 812, "sha256": "…"}, …}}

Folders and records from before there were manifests and checksums are read unchecked.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

from harness.records.reasons import naming, one_line

MANIFEST, BASES, CHECKPOINTS, RESUME, VERIFIERS = (
    "manifest.json",
    "bases",
    "checkpoints",
    "resume",
    "verifiers",
)
COST = "cost.json"  # what a clock decides: in no manifest, so that equal content has equal manifests
MADE_ONCE = ("reward_model", "process_reward_model", "offline")  # in a run's folder, at step 0
RESTORE = f"restore the file, or remove {MANIFEST} beside it to use the folder as it is"
DIFFERS = "its content is not what was written (SHA-256)"
P = ParamSpec("P")
T = TypeVar("T")
_SEAL = re.compile(rb',\n "checksum": "([0-9a-f]{64})"\n\}\n\Z')
SEAL_BYTES = 100  # and a few more than the checksum takes at the end of a file
_verified: set[tuple[Any, ...]] = set()  # folders found whole in this process, by the state of their files


class Damaged(ValueError):
    """A published file that is not what was written; `what` names it and what is wrong with it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what


def warn(text: str) -> None:
    """Print one line to stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def remedy(path: Path) -> str:
    """What makes a damaged file whole again, by the folder that it belongs to."""
    for place in (path, *path.parents):
        if place.name == CHECKPOINTS:
            return f"delete {place} and launch again: the run is trained anew"
        if place.name in MADE_ONCE or place.parent.name == VERIFIERS:
            return f"delete {place} and launch again: it is made anew"
        if place.name == RESUME:
            return f"delete {place} and launch again: training starts anew"
        if place.parent.name == BASES and not (place / "model").is_symlink():
            return f"delete {place / 'model'} and launch again: the base is made anew"
    return RESTORE


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise  # else a file system that syncs no folders
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each entry synced."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in new:
        sync(place.parent)


@contextmanager
def replacing(path: Path, *, entry: bool = True) -> Iterator[Path]:
    """Yield a temporary file that replaces `path` once it is written, and is removed if writing fails.

    Without `entry` the folder is not synced: for a file that a synced one follows, and that is made again
    where it is absent.
    """
    make_folder(path.parent)
    temporary = temporary_of(path)
    try:
        with naming(path):
            yield temporary
            sync(temporary)
            set_aside(path)
            os.replace(temporary, path)
            if entry:
                sync(path.parent)
    except Exception:
        temporary.unlink(missing_ok=True)
        raise


def set_aside(path: Path) -> None:
    """Rename a folder that stands where a file belongs: the file can be written and nothing is lost."""
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f"{path.name}.damaged-{uuid4().hex[:8]}")
        os.rename(path, aside)
        warn(f"{path}: a folder where a file belongs; it is {aside.name} now")


def temporary_of(path: Path) -> Path:
    """A name beside `path` that no process of any machine uses; `locks.hold` removes what a kill leaves."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def publish(
    folder: Path, write: Callable[[Path], object], *, identity: Mapping[str, Any], again: bool = False
) -> None:
    """Fill a folder through `write(temporary)`, sync it with its manifest, and rename it into place.

    A whole folder of that identity stays as it is, unless `again`; a damaged one is replaced, with a warning.
    """
    if folder.is_dir() and not again:
        try:
            return verify(folder, identity)
        except Damaged as error:
            warn(f"{error.what}; it is written anew")
    make_folder(folder.parent)
    temporary = temporary_of(folder)
    try:
        with naming(folder):
            temporary.mkdir()
            write(temporary)
            _finish(temporary, identity)
            remove(folder)
            os.rename(temporary, folder)
            sync(folder.parent)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _finish(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write the manifest, give each file the usual mode (a library may write 0600), and sync everything."""
    inside = sorted(folder.rglob("*"))
    files = [path for path in inside if path.is_file()]
    found = {str(path.relative_to(folder)): _fingerprint(path) for path in files if path.name != COST}
    manifest = folder / MANIFEST
    manifest.write_text(seal(json.dumps({"identity": dict(identity), "files": found}, indent=1) + "\n"))
    mode = stat.S_IMODE(manifest.stat().st_mode)
    for path in files:
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
    for path in (*files, manifest, *(path for path in inside if path.is_dir()), folder):
        sync(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": found}


def verify(folder: Path, identity: Mapping[str, Any] | None = None) -> None:
    """Check a published folder against its manifest and, where given, the identity that it should have.

    One without a manifest passes. Files that have not changed since are read once in a process.
    Raises Damaged.
    """
    manifest = folder / MANIFEST
    if not os.path.lexists(manifest):
        return
    try:
        written = json.loads(unseal(manifest))
        of, files = dict(written["identity"]), {name: dict(entry) for name, entry in written["files"].items()}
    except Damaged as error:
        raise Damaged(error.what, remedy(folder)) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{manifest}: not a manifest ({one_line(error)})", remedy(folder)) from error
    if identity is not None and of != dict(identity):
        raise Damaged(f"{folder}: made for {_words(of)}, not for {_words(identity)}", remedy(folder))
    state = (str(folder.absolute()), *(_state(folder / name) for name in (MANIFEST, *files)))
    if state in _verified:
        return
    for name, entry in files.items():
        if (wrong := _difference(folder / name, entry)) is not None:
            raise Damaged(f"{folder / name}: {wrong}", remedy(folder))
    _verified.add(state)


def require(folder: Path, identity: Mapping[str, Any]) -> None:
    """`verify` a folder that must be there."""
    if not folder.is_dir():
        raise Damaged(f"{folder}: is not there", remedy(folder))
    verify(folder, identity)


def _difference(path: Path, written: Mapping[str, Any]) -> str | None:
    """What a file has become since, or None."""
    try:
        if (size := path.stat().st_size) != written.get("size"):
            return f"has {size} bytes where {written.get('size')} were written"
        return None if _fingerprint(path) == written else DIFFERS
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _state(path: Path) -> tuple[int, ...]:
    try:
        now = path.stat()
    except OSError:
        return ()
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def _words(identity: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in identity.items())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into Damaged, which names `path` and the remedy."""
    try:
        yield
    except (Damaged, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # of a GPU
            raise
        raise Damaged(f"{path}: cannot be read ({one_line(error)})", remedy(path)) from error


def checked(load: Callable[P, T]) -> Callable[P, T]:
    """Decorate a loader of model folders: verify the first path among its arguments, name it in its errors.

    In a folder that is not one of ours the loader's own errors stay as they are: they name field and remedy.
    """

    @wraps(load)
    def checking(*args: P.args, **kwargs: P.kwargs) -> T:
        given = next(x for x in (*args, *kwargs.values()) if isinstance(x, str | Path))
        folder = Path(given)
        verify(folder)
        try:
            with reading(folder):
                return load(*args, **kwargs)
        except Damaged as error:
            cause = error.__cause__
            own = type(cause) is ValueError or type(cause).__module__.startswith("harness.")
            if cause is not None and own and remedy(folder) == RESTORE:
                raise cause from None
            raise

    return checking


def seal(text: str) -> str:
    """Add a checksum as the last key of a JSON object that is written with an indent of 1."""
    body = text.removesuffix("\n}\n")
    assert len(body) > 1 and body != text, "an object with at least one key"
    return f'{body},\n "checksum": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def unseal(path: Path, text: bytes | None = None) -> bytes:
    """Read a file, or take its `text`, and check its checksum and take it off; one without stays as it is.

    Raises OSError, and Damaged where the checksum is another's.
    """
    text = path.read_bytes() if text is None else text
    if (found := _SEAL.search(text, max(0, len(text) - SEAL_BYTES))) is None:
        return text
    body = text[: found.start()]
    if hashlib.sha256(body).hexdigest().encode() != found[1]:
        raise Damaged(f"{path}: {DIFFERS}", remedy(path))
    return body + b"\n}\n"
