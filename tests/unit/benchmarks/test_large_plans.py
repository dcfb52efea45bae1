"""The page on large runs has the numbers that its command prints, and says of each what it is."""

from __future__ import annotations

from tests.benchmarks.large_plans import BEGIN, END, PAGE, text, written


def test_the_tables_are_what_the_command_prints() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page, text()), "python -m tests.benchmarks.large_plans --write"


def test_each_table_says_whether_it_is_computed_or_simulated() -> None:
    block = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    heads = [part.split("\n")[0] for part in block.strip().split("\n\n") if part.startswith("|")]
    assert [("computed" in head, "simulated" in head) for head in heads] == [
        (True, False),
        (True, False),
        (False, True),
    ]
