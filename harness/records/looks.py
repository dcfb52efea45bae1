"""Looks at a study that adds seeds by a rule, in outputs/<study>/looks.json. Imports no torch.

    {"rule": {"half_width": 0.5, "first": 4, "step": 2, "max_seeds": 20, …}, "looks": [{"num_seeds": 4, …}]}

Looks are added and never changed: the report's intervals allow for as many as there are.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from harness.records.fields import Count
from harness.records.reading import read_json

FILE = "looks.json"


class SeedRule(BaseModel):
    """When to stop adding seeds. `half_width` is in points; None: once every primary contrast is decided.

    `seeds` has all that may run, in their order: the first look comes after `first` of them, the next after
    `step` more, the last after `max_seeds`.
    """

    half_width: float | None = Field(default=None, gt=0)
    first: int = Field(ge=2, le=1000)
    step: int = Field(ge=1)
    max_seeds: int = Field(ge=2, le=1000)
    seeds: list[Count]


class Seen(BaseModel):
    """A primary contrast as a look saw it, in accuracy: the adjusted interval and the verdict."""

    name: str
    estimate: float
    low: float | None
    high: float | None
    verdict: str
    reason: str | None = None


class Look(BaseModel):
    """One look. `needed`: seeds at which the rule would stop if estimate and spread stay; None: not known.

    `seconds` is what the seeds that are missing to `needed`, but at most to the cap, would take.
    """

    num_seeds: Count
    contrasts: list[Seen]
    done: bool
    reason: str
    needed: Count | None = None
    seconds: float | None = None
    time: str = ""
    commit: str | None = None


class Looks(BaseModel):
    """The rule of a study and every look made by it, the first one first."""

    rule: SeedRule
    looks: list[Look] = Field(default_factory=list)


def read_looks(study: Path) -> Looks | None:
    """The looks of a study's folder, None without any. Raises RecordError for a damaged file."""
    path = study / FILE
    if not path.exists():
        return None
    return read_json(
        path, Looks, remedy="restore it from a copy; without it looks count as made at every plan"
    )
