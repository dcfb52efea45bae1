"""Break the code on purpose, one line at a time, and see whether a test notices.

    python -m tests.mutants [--only PATTERN] [--missed] [--jobs N] [--timeout SECONDS]

`tests/mutants.toml` lists the mutations: a file, a piece of it that occurs exactly once, what replaces it,
why that is wrong, and the test files of which one must fail. Each mutation is made in a copy of the checkout,
so the checkout itself is never touched. A mutation that no test notices has survived: write the test that
catches it, or take the mutation out if it changes nothing that anyone could observe. Results are kept in
`tests/mutants.json`; those of mutations that are not run (--only, --missed) stay as they were.

Exit code 0: all are caught. 1: one survives, or does not even import. 2: nothing could be said, because the
table does not fit the code or because a named test fails without any mutation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE, RESULTS = ROOT / "tests" / "mutants.toml", ROOT / "tests" / "mutants.json"
COPIED = ("harness", "analysis", "tasks", "tests", "conf", "outputs/reference", "pyproject.toml")


@dataclass(frozen=True)
class Mutant:
    """One mutation: in `file`, the only occurrence of `old` becomes `new`, and one of `tests` must fail."""

    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.file}: {self.why}"


@dataclass(frozen=True)
class Result:
    """`outcome` is caught, SURVIVED or BROKEN; `by` is the first test that failed, or "timeout"."""

    outcome: str
    by: str
    seconds: float


def load(path: Path = TABLE) -> list[Mutant]:
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["mutants"]
    return [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows]


def misfits(mutants: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """What is wrong with the table, one line each: text that is gone or ambiguous, missing tests."""
    found = []
    for number, mutant in enumerate(mutants):
        path = root / mutant.file
        times = path.read_text(encoding="utf-8").count(mutant.old) if path.exists() else 0
        if times != 1:
            found.append(f"{mutant.name}: {mutant.old!r} occurs {times} times; it must occur once")
        if mutant.old == mutant.new:
            found.append(f"{mutant.name}: old and new are the same")
        if mutant.name in {other.name for other in mutants[:number]}:
            found.append(f"{mutant.name}: listed twice")
        if not mutant.tests:
            found.append(f"{mutant.name}: names no test")
        found += [
            f"{mutant.name}: {test} does not exist" for test in mutant.tests if not (root / test).exists()
        ]
    return found


def copy_checkout(root: Path, to: Path) -> None:
    """Copy code, tests, configs and committed results, with uncommitted changes; caches stay behind."""
    to.mkdir(parents=True)
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, to / name)


def run_tests(folder: Path, tests: Sequence[str], timeout: float) -> Result:
    """Run test files against the code in `folder`, up to the first failure, with fixed examples."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    # Without byte code: a mutation may leave a file's size and time of change as they were.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    start = time.monotonic()
    try:
        done = subprocess.run(
            [*command, *tests], cwd=folder, env=environment, timeout=timeout, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return Result("caught", "timeout", timeout)
    seconds = time.monotonic() - start
    if done.returncode == 0:
        return Result("SURVIVED", "", seconds)
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return Result("caught", failed[1], seconds)
    return Result("BROKEN", (done.stdout + done.stderr).strip()[-2000:], seconds)


def attempt(mutant: Mutant, folder: Path, timeout: float) -> Result:
    """Apply one mutation in a copy of the checkout, run its tests, undo it."""
    path = folder / mutant.file
    original = path.read_text(encoding="utf-8")
    path.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return run_tests(folder, mutant.tests, timeout)
    finally:
        path.write_text(original, encoding="utf-8")


def attempts(
    mutants: Sequence[Mutant], folders: Sequence[Path], timeout: float
) -> Iterator[tuple[Mutant, Result]]:
    """Every mutation's result as it comes, as many at a time as there are copies of the checkout."""
    free: SimpleQueue[Path] = SimpleQueue()
    for folder in folders:
        free.put(folder)

    def one(mutant: Mutant) -> Result:
        folder = free.get()
        try:
            return attempt(mutant, folder, timeout)
        finally:
            free.put(folder)

    with ThreadPoolExecutor(len(folders)) as pool:
        waiting = {pool.submit(one, mutant): mutant for mutant in mutants}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def read_results(path: Path = RESULTS) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write_results(mutants: Sequence[Mutant], results: dict[str, Result], path: Path = RESULTS) -> None:
    """Results in the table's order, each with the commit it was found at; those not run again stay."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    before = {row["mutant"]: row for row in read_results(path)}
    rows = []
    for mutant in mutants:
        if (new := results.get(mutant.name)) is not None:
            row = {
                "mutant": mutant.name,
                "result": new.outcome,
                "by": new.by,
                "seconds": round(new.seconds, 1),
            }
            rows.append({**row, "commit": commit})
        elif mutant.name in before:
            rows.append(before[mutant.name])
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="those whose file or reason matches")
    parser.add_argument(
        "--missed", action="store_true", help="those that the last results do not call caught"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time (1)")
    parser.add_argument(
        "--timeout", type=float, default=300.0, help="seconds a mutation's tests may take (300)"
    )
    options = parser.parse_args(arguments)
    table = load()
    done = {row["mutant"] for row in read_results() if row["result"] == "caught"} if options.missed else set()
    chosen = [m for m in table if re.search(options.only, m.name) and m.name not in done]
    problems = misfits(chosen) or ([] if chosen else ["no mutation is left to make: see --only, --missed"])
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 2
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folders = [Path(temporary) / str(i) for i in range(max(1, options.jobs))]
        for folder in folders:
            copy_checkout(ROOT, folder)
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        print(f"{len(tests)} test files without a mutation ...", flush=True)
        plain = run_tests(folders[0], tests, timeout=10 * options.timeout)
        if plain.outcome != "SURVIVED":
            print(f"they must pass before anything can be said; failed: {plain.by}", file=sys.stderr)
            return 2
        for mutant, result in attempts(chosen, folders, options.timeout):
            results[mutant.name] = result
            print(f"{result.outcome:<9}{result.seconds:6.1f} s  {mutant.name}  {result.by}", flush=True)
    write_results(table, results)
    missed = [name for name, result in results.items() if result.outcome != "caught"]
    print(f"{len(results) - len(missed)} of {len(results)} caught", *missed, sep="\n  ")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
