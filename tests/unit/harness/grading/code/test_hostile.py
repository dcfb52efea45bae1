"""Hundreds of hostile programs: none escapes, none hangs, none passes a test that it did not solve."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.grading.code import pool
from harness.grading.code.pool import run_tests
from tests.unit.harness.grading.code import forgeries, hostile
from tests.unit.harness.grading.code.outcomes import Outcome, listener, outcomes

KINDS = sorted({a.kind for a in hostile.attempts("/canary", 9)})
pytestmark = pytest.mark.timeout(1200)


@dataclass
class Siege:
    """All outcomes, and what they have left behind on this machine."""

    outcomes: list[Outcome]
    callers: list[object]
    canary: Path


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    canary = tmp_path_factory.mktemp("outside") / "canary"
    canary.write_text("a secret of this machine")
    os.environ["HOSTILE_PATH"] = "a secret of this process"
    with listener() as (port, callers):
        found = outcomes(hostile.attempts(str(canary), port))
        yield Siege(found, callers, canary)
    del os.environ["HOSTILE_PATH"]


def test_there_are_enough_and_all_differ() -> None:
    programs = [a.program for a in hostile.attempts("/canary", 9)]
    assert len(set(programs)) == len(programs) >= (400 if platform.machine() == "x86_64" else 300)
    assert len(KINDS) >= 13
    for program in programs:
        compile(program, "<hostile>", "exec")  # a mistake in one would be no attempt


def test_a_solution_passes_and_loot_is_seen() -> None:
    """The tests can be passed, and what a program got hold of fails the last one."""
    assert run_tests(hostile.SOLUTION, hostile.TESTS) == ["passed"] * 4
    thief = hostile.SOLUTION + "def loot():\n    return ['a secret']\n"
    assert run_tests(thief, hostile.TESTS) == ["passed"] * 3 + ["AssertionError"]


@pytest.mark.parametrize("kind", KINDS)
def test_none_passes_escapes_or_hangs(siege: Siege, kind: str) -> None:
    mine = [o for o in siege.outcomes if o.attempt.kind == kind]
    assert mine
    for what in ("passed", "escaped", "hung"):
        assert {o.attempt.name: o.tests for o in mine if getattr(o, what)} == {}, what


def test_nothing_outside_has_changed(siege: Siege) -> None:
    assert siege.canary.read_text() == "a secret of this machine"
    assert siege.callers == []
    for path in ("/mine", "/tmp/mine", "/dev/shm/mine", "mine"):
        assert not Path(path).exists()


def test_no_process_is_left(siege: Siege) -> None:
    """All that has come of the sandbox's servers are their own first processes."""
    servers = [s.process.pid for s in pool._pools[-1].idle.queue if s is not None]
    assert servers
    left = [entry for entry in os.listdir("/proc") if entry.isdigit() and _parent(entry) in servers]
    assert len(left) == len(servers)
    children = {int(entry) for entry in left}
    assert [e for e in os.listdir("/proc") if e.isdigit() and _parent(e) in children] == []


def _parent(entry: str) -> int:
    try:
        return int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_test_in_the_programs_own_process_would_be_fooled() -> None:
    """The control: the forged values of `equality` pass the same tests where they are compared in place."""
    fooled = 0
    for body in forgeries.by_kind()["equality"].values():
        space: dict[str, object] = {}
        exec("LOOT = []\n" + body, space)
        try:
            exec(hostile.TESTS.tests[0], space)
            fooled += 1
        except Exception:
            pass
    assert fooled >= 25
