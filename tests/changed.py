"""Print the test files of what changed since `main`: the same room and name, else the whole room.

    python -m tests.changed [BASE]

BASE is a commit or branch; without it, where this branch left `main`. Uncommitted and new files count.
`harness/objectives/kl.py` gives tests/unit/harness/objectives/test_kl.py; a module without a test file of its
name gives the folder of its room, and a config gives the schema's tests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
UNIT = PurePosixPath("tests/unit")


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_of(changed: str, root: Path = ROOT) -> str | None:
    """The test file or folder of one changed path; None if it has none that runs everywhere."""
    path = PurePosixPath(changed)
    if path.parts[0] == "conf":
        return str(UNIT / "harness" / "schema")
    if path.suffix not in (".py", ".yaml") or path.parts[:2] == ("tests", "gpu"):
        return None
    if path.parts[0] == "tests" and path.name.startswith("test_"):
        return changed if (root / path).exists() else None
    if path.parts[0] == "tests":
        path = path.relative_to("tests/unit") if path.is_relative_to(UNIT) else path.relative_to("tests")
    named = UNIT / path.parent / f"test_{path.stem}.py"
    folders = [UNIT / parent for parent in path.parents if parent.parts]
    return next((str(p) for p in [named, *folders] if (root / p).exists()), None)


def tests_of(changed: Iterable[str], root: Path = ROOT) -> list[str]:
    """The tests of all changed paths; a file inside a folder that is named anyway is left out."""
    found = {PurePosixPath(test) for path in changed if (test := test_of(path, root)) is not None}
    return sorted(str(test) for test in found if not found & set(test.parents))


if __name__ == "__main__":
    base = sys.argv[1] if len(sys.argv) > 1 else git("merge-base", "main", "HEAD")[0]
    print(
        *tests_of([*git("diff", "--name-only", base), *git("ls-files", "-o", "--exclude-standard")]), sep="\n"
    )
