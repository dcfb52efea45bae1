"""Hostile programs, generated from a table of techniques: what a model might write to pass tests or do harm.

Each defines `f` (or does not) and gathers in `LOOT` what it got hold of. `TESTS` ask `f` for values that
nothing in the program's reach says; the last one asks for the loot. Run `attempts()` in a sandbox: none may
pass a test of `f`, have loot, hang, or change anything outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

from harness.grading.code.pool import Suite
from tests.unit.harness.grading.code import forgeries, techniques


@dataclass(frozen=True, slots=True)
class Attempt:
    """A program and the kind of thing that it tries."""

    kind: str
    name: str
    program: str


def _secret(x: int) -> int:
    return (x * 7919 + 13) ^ 0x5A5A


TESTS = Suite(
    "f",
    (
        *(f"assert f({x}) == {_secret(x)}" for x in (3, 8)),
        f"values = [f(x) for x in (1, 2)]\nassert values == {[_secret(1), _secret(2)]}",
        "assert loot() == []",
    ),
)
NUM_ANSWERS = 3  # tests that only a solution passes; then the one of the loot
SOLUTION = "def f(x):\n    return (x * 7919 + 13) ^ 0x5A5A\ndef loot():\n    return []\n"
_HEAD = "LOOT = []\ndef loot():\n    return [str(x)[:200] for x in LOOT]\ndef f(x):\n    return 0\n"
_TRY = "try:\n{body}\nexcept BaseException as error:\n    pass\n"


def _at_import(body: str) -> str:
    return _HEAD + _TRY.format(body=indent(body, "    "))


def _in_call(body: str) -> str:
    tried = indent(_TRY.format(body=indent(body, "    ")), "    ")
    return f"{_HEAD}def f(x):\n{tried}    return 0\n"


def attempts(canary: str, port: int) -> list[Attempt]:
    """All programs. `canary` is a file outside that none may read or change, `port` one that listens."""
    found = []
    for kind, table in techniques.by_kind(canary, port).items():
        for name, body in table.items():
            found.append(Attempt(kind, f"{name}, at import", _at_import(body)))
            if kind not in ("time", "memory"):  # seconds each
                found.append(Attempt(kind, f"{name}, in a call", _in_call(body)))
    for kind, table in forgeries.by_kind().items():
        found += [Attempt(kind, name, _HEAD + body) for name, body in table.items()]
    return found
