"""The table of mutations fits the code, and the script tells caught from survived."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants import Mutant, Result, attempt, load, misfits, run_tests, write_results

TABLE = load()
THIRD = Mutant("half.py", "x / 2", "x / 3", "divides by three", ("test_half.py",))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "half.py").write_text("def half(x):\n    return x / 2  # of x\n")
    (tmp_path / "test_half.py").write_text(
        "from half import half\n\n\ndef test_half():\n    assert half(0) == 0\n    assert half(6) == 3\n"
    )
    return tmp_path


def test_every_mutation_fits_the_code() -> None:
    """If this fails, the code has moved on: correct `old` in tests/mutants.toml, or remove the mutation."""
    assert misfits(TABLE) == []
    assert len(TABLE) >= 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"old": "x * 2"}, "'x * 2' occurs 0 times"),
        ({"old": "x"}, "'x' occurs 3 times"),
        ({"file": "gone.py"}, "occurs 0 times"),
        ({"new": "x / 2"}, "old and new are the same"),
        ({"tests": ()}, "names no test"),
        ({"tests": ("test_gone.py",)}, "test_gone.py does not exist"),
    ],
)
def test_a_mutation_that_does_not_fit_is_named(checkout: Path, change: dict[str, str], words: str) -> None:
    assert misfits([THIRD], checkout) == []
    (line,) = misfits([replace(THIRD, **change)], checkout)
    assert words in line


def test_a_mutation_listed_twice_is_named(checkout: Path) -> None:
    assert misfits([THIRD, THIRD], checkout) == ["half.py: divides by three: listed twice"]


@pytest.mark.parametrize(
    ("new", "outcome", "by"),
    [
        ("x / 3", "caught", "test_half.py::test_half"),  # 6 / 3 = 2
        ("x - x // 2", "SURVIVED", ""),  # right for 0 and 6, wrong for 1
        ("x / ", "BROKEN", "SyntaxError"),  # no test has failed: the file cannot be imported
    ],
)
def test_outcomes(checkout: Path, new: str, outcome: str, by: str) -> None:
    before = (checkout / "half.py").read_text()
    found = attempt(replace(THIRD, new=new), checkout, timeout=60)
    assert found.outcome == outcome
    assert by in found.by
    assert (checkout / "half.py").read_text() == before


def test_a_mutation_that_never_ends_is_caught(checkout: Path) -> None:
    (checkout / "test_half.py").write_text("def test_half():\n    while True:\n        pass\n")
    assert run_tests(checkout, ["test_half.py"], timeout=3) == Result("caught", "timeout", 3)


def test_results_of_mutations_that_were_not_run_stay(tmp_path: Path) -> None:
    path = tmp_path / "mutants.json"
    second = replace(THIRD, why="divides by nothing")
    write_results([THIRD, second], {m.name: Result("SURVIVED", "", 1.23) for m in (THIRD, second)}, path)
    write_results([second, THIRD], {THIRD.name: Result("caught", "test_half.py::test_half", 2.0)}, path)
    rows = [(row["mutant"], row["result"], row["seconds"]) for row in json.loads(path.read_text())]
    assert rows == [(second.name, "SURVIVED", 1.2), (THIRD.name, "caught", 2.0)]
    write_results([THIRD], {}, path)  # the other one left the table
    assert [row["mutant"] for row in json.loads(path.read_text())] == [THIRD.name]
