"""A completion that is a program: where it stands, what its tests are, how many of them it passes.

The reference of such a problem is the JSON of its tests, so that everything that carries a reference answer
carries tests too:

    {"entry_point": "double", "tests": ["assert double(2) == 4"]}

`setup` (code that the tests stand on) and `prefix` (code that a completion goes on from, as in HumanEval) are
optional.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from harness.grading.code.pool import Suite, run_tests

MAX_PROGRAM_CHARS = 65_536
_FENCE = re.compile(r"```[ \t]*(?:[A-Za-z0-9_+-]*)[ \t]*\r?\n(?P<code>.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_NEXT = re.compile(r"\n(?:class|def|#|if|print|assert|```)")  # what a completion of a function goes on to
_THOUGHT = "</think>"


@dataclass(frozen=True, slots=True)
class Reference:
    """The tests of a problem, and the code that a completion may go on from."""

    tests: Suite
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """What came of each test, in order: `passed`, or the name of what was raised."""

    outcomes: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of tests passed, in [0, 1]."""
        return self.outcomes.count("passed") / len(self.outcomes)

    @property
    def reason(self) -> str:
        """`3/4 tests (AssertionError)`."""
        bad = next((one for one in self.outcomes if one != "passed"), None)
        said = f"{self.outcomes.count('passed')}/{len(self.outcomes)} tests"
        return said if bad is None else f"{said} ({bad})"


def reference_text(row: Mapping[str, Any]) -> str:
    """The reference of a row with `tests` and `entry_point`. Raises ValueError for what is no test of it."""
    tests = [row["tests"]] if isinstance(row["tests"], str) else row["tests"]
    entry_point, texts = row.get("entry_point"), {name: row.get(name) or "" for name in ("setup", "prefix")}
    if not isinstance(entry_point, str) or not entry_point.isidentifier():
        raise ValueError(
            f"entry_point={entry_point!r} is no name of a function; give the one that tests call"
        )
    if not isinstance(tests, list | tuple) or not tests:
        raise ValueError("tests: give at least one, a Python statement such as 'assert f(2) == 4'")
    for name, code in [*(("tests", test) for test in tests), ("setup", texts["setup"])]:
        try:
            ast.parse(code)
        except (SyntaxError, TypeError, ValueError) as error:
            raise ValueError(f"{name}: {str(code)[:60]!r} is no Python ({error}); mend it") from None
    if not isinstance(texts["prefix"], str):
        raise ValueError(f"prefix={str(texts['prefix'])[:60]!r} is no text; mend it, or leave it out")
    given = {name: code for name, code in texts.items() if code}
    return json.dumps({"entry_point": entry_point, "tests": list(tests), **given})


@lru_cache(maxsize=4096)
def reference_of(text: str) -> Reference:
    """What `reference_text` wrote. Raises ValueError for a reference that holds no tests."""
    try:
        row = json.loads(text)
        tests = Suite(row["entry_point"], tuple(row["tests"]), row.get("setup", ""))
        return Reference(tests, row.get("prefix", ""))
    except (TypeError, ValueError, KeyError, AttributeError):
        raise ValueError(
            f"answer={text[:60]!r} holds no tests; data.answer_rules=[program] needs rows with `tests` and "
            "`entry_point`, as data=code reads"
        ) from None


def program_in(completion: str) -> str:
    """The last block of code in what follows the thought, else all of that; "" where nothing is."""
    said = completion.rpartition(_THOUGHT)[2][-MAX_PROGRAM_CHARS:]
    blocks = [match["code"] for match in _FENCE.finditer(said)]
    return next((code for code in reversed(blocks) if code.strip()), "" if blocks else said.rstrip())


def whole_program(program: str, reference: Reference) -> str:
    """The program with what it goes on from, where it does not define the entry point by itself.

    As in lm-eval's tasks, such a continuation ends before a line that begins with `def`, `class`, `if` ...
    """
    name = re.escape(reference.tests.entry_point)
    defines = re.search(rf"^(?:async )?(?:def|class) +{name}\b|^{name} *=", program, re.MULTILINE)
    if defines or not reference.prefix:
        return program
    return reference.prefix + _NEXT.split(program, maxsplit=1)[0]


@lru_cache(maxsize=1 << 16)
def report(program: str, reference: str) -> SuiteReport:
    """Run a program against the tests of a reference text. Raises ValueError, and Refused as `run_tests`."""
    known = reference_of(reference)
    return SuiteReport(tuple(run_tests(whole_program(program, known), known.tests)))
