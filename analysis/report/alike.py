"""Sentences of an A/A study, whose arms differ in random numbers alone: every difference is 0 in truth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from analysis.stats.text import interval_text
from analysis.study.contrasts import ArmResult
from harness.records.reading import read_json

FACTOR, FILE = "replicate", "calibration.json"
LEAST_TESTS = 100  # fewer share so many runs that their rate says little


class Rejections(TypedDict):
    """One row of calibration.json: real tests of arms that are alike, and the share that reject."""

    what: str
    seeds: int
    tests: int
    rejected: float
    sound: float


class RealRuns(TypedDict, total=False):
    """What is read of calibration.json; early ones have no `rejections`."""

    rejections: Annotated[list[Rejections], Field(min_length=1)]


def is_alike(factors: Iterable[str]) -> bool:
    """Whether `replicate` is all that varies."""
    return set(factors) == {FACTOR}


def alike_lines(folder: Path, results: list[ArmResult], measure: str) -> list[str]:
    """Say how many of the differences were found that are 0 in truth, and how often real tests reject."""
    tested = [r for r in results if r.difference is not None and r.p_holm is not None]
    if not tested:
        return []
    found = sum(r.p_holm is not None and r.p_holm <= 0.05 for r in tested)
    largest = max(tested, key=lambda r: abs(r.difference.estimate) if r.difference else 0.0)
    size = interval_text(largest.difference, signed=True) if largest.difference else ""
    line = (
        "Do arms that differ in random numbers alone look different? Every difference is 0 in truth. In "
        f"{measure}, {found} of {len(tested)} are found (5 %, Holm); the largest is {size} points, "
        f"{largest.label}."
    )
    return [line, *filter(None, [rejections_text(folder)])]


def rejections_text(folder: Path) -> str:
    """`Of 2,100 tests .. at 5 %, 2.7 % reject where ..`, at the most seeds of each way to choose a rate.

    Empty without `folder`/calibration.json, or one without real tests.
    """
    path = folder / FILE
    if not path.exists():
        return ""
    rows = read_json(path, RealRuns, remedy="write it again with r1-report calibrate").get("rejections", [])
    most: dict[str, Rejections] = {}
    for row in rows:  # by the number of seeds, smallest first
        if row["tests"] >= LEAST_TESTS:
            most[row["what"]] = row
    parts = [_row_text(row) for row in most.values()]
    if not parts:
        return ""
    return f"Tests at 5 % of all pairs of these arms and subsets of their seeds reject {' and '.join(parts)}."


def _row_text(row: Rejections) -> str:
    return (
        f"{100 * row['rejected']:.1f} % of {row['tests']:,} ({row['what']}, {row['seeds']} seeds; "
        f"a sound test stays below {100 * row['sound']:.0f} % in 95 of 100 studies)"
    )
