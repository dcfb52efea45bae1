"""The page on large runs has the numbers that its command prints, and says of each what it is."""

from __future__ import annotations

import json

from tests.benchmarks.large_plans import BEGIN, END, PAGE, text, written

BENCH = PAGE.parents[2] / "outputs" / "reference" / "bench"


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


def test_the_measured_sweep_is_that_of_its_file() -> None:
    found = json.loads((BENCH / "simulated_sweep.json").read_text())
    low, middle, high = found["simulated_s"].values()
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert (
        f"{found['runs']} runs of the smallest model on two workers took {found['measured_s']:.0f} s" in page
    )
    assert f"{middle:.0f} s (9 of 10: {low:.0f} to {high:.0f}), {100 * found['error']:+.0f} %" in page
    own = f"{100 * found['error_by_own_times']:+.0f}".replace("-", "−")
    assert f"own times, {found['by_own_times_s']:.0f} s, {own} %" in page
