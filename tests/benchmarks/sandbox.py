"""Seconds a program run against its tests, and the table of hostile programs that were tried.

    python -m tests.benchmarks.sandbox --hostile --json outputs/reference/bench/sandbox.json

A generated task's solution runs against its tests (5 or 6) in one server, in a server a core, and in a server
that is started for it alone, which is what the pool saves. `--hostile` runs every program of
tests/unit/harness/grading/code as well (two minutes) and counts what came of each kind. Exit code 1 if one
escaped, hung or passed a test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.data import code_gen
from harness.grading.code import limits
from harness.grading.code.pool import WORKERS, Suite, _Server, refusal, run_tests
from harness.grading.code.program import reference_of, whole_program
from harness.records.code_state import code_state, hardware
from tests.unit.harness.grading.code.hostile import attempts
from tests.unit.harness.grading.code.outcomes import Outcome, listener, outcomes

Job = tuple[str, Suite]
COUNTS = ("passed", "escaped", "hung")


def jobs(number: int) -> list[Job]:
    """Right programs of all families at levels 1 to 5, with their tests."""
    problems = code_gen.load(
        "train",
        num_problems=number,
        families=[f for f in code_gen.FAMILIES if f != "infer"],
        levels=code_gen.LEVELS,
        style="terse",
        seed=0,
    )
    known = [(p.solution or "", reference_of(p.answer)) for p in problems]
    return [(whole_program(solution, reference), reference.tests) for solution, reference in known]


def seconds(run: Callable[[Job], list[str]], work: list[Job], threads: int) -> float:
    """Seconds a program, all of which pass."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        assert all(set(found) == {"passed"} for found in pool.map(run, work))
    return (time.perf_counter() - start) / len(work)


def speeds(number: int) -> dict[str, Any]:
    """Median of three of each way to run `number` programs, and of a server's start."""
    work, server = jobs(number), _Server()
    fresh = work[: max(1, number // 10)]

    def alone(job: Job) -> list[str]:
        own = _Server()
        try:
            return own.run(*job)
        finally:
            own.end()

    ways: dict[str, Callable[[], float]] = {
        "one_server": lambda: seconds(lambda job: server.run(*job), work, 1),
        "a_server_a_core": lambda: seconds(lambda job: run_tests(*job), work, WORKERS),
        "a_server_a_program": lambda: seconds(alone, fresh, 1),
    }
    found = {name: round(statistics.median(way() for _ in range(3)), 5) for name, way in ways.items()}
    server.end()
    tests = statistics.mean(len(suite.tests) for _, suite in work)
    return {
        "programs": number,
        "tests_a_program": round(tests, 2),
        "seconds_a_program": found,
        "seconds_a_test": {name: round(s / tests, 5) for name, s in found.items()},
    }


def table(found: list[Outcome]) -> dict[str, dict[str, Any]]:
    """Kind -> how many were tried, passed, escaped and hung, and the longest in seconds."""
    kinds = sorted({o.attempt.kind for o in found})
    rows = {kind: [o for o in found if o.attempt.kind == kind] for kind in kinds} | {"all": found}
    return {
        kind: {
            "tried": len(mine),
            **{what: sum(getattr(o, what) for o in mine) for what in COUNTS},
            "longest_s": round(max(o.seconds for o in mine), 1),
        }
        for kind, mine in rows.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--programs", type=int, default=500)
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if reason := refusal():
        print(f"error: no program can be confined here: {reason}")
        return 2
    names = ("MEMORY", "CPU_SECONDS", "WALL_SECONDS", "ALL_SECONDS", "MAX_LINE", "MAX_STARTS")
    found: dict[str, Any] = {
        "device": hardware("cpu"),
        "cores": WORKERS,
        "kernel": os.uname().release,
        "commit": code_state()["commit"],
        "limits": {name.lower(): getattr(limits, name) for name in names},
        "speed": speeds(options.programs),
    }
    print(json.dumps(found["speed"], indent=1))
    if options.hostile:
        with tempfile.NamedTemporaryFile("w+") as canary, listener() as (port, callers):
            canary.write("a secret of this machine")
            canary.flush()
            found["hostile"] = table(outcomes(attempts(canary.name, port)))
            found["connections"] = len(callers)
        print(json.dumps(found["hostile"], indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(found.get("hostile", {}).get("all", {}).get(what) for what in COUNTS))


if __name__ == "__main__":
    raise SystemExit(main())
