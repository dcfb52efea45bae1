"""What a report holds, before it is written in any form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.study.load import Study
from analysis.tables.table import Table

if TYPE_CHECKING:
    from analysis.figures.figure import Figure


@dataclass(frozen=True)
class ReportSection:
    """A titled part of the report."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """Everything the report says, before it is laid out."""

    study: Study
    answers: list[str]
    notes: list[str]
    sections: list[ReportSection]
    runs: Table
    samples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return status_line(self.study)

    @property
    def tables(self) -> list[Table]:
        return [*(t for s in self.sections for t in s.tables), self.runs]

    @property
    def figures(self) -> list[Figure]:
        return [f for s in self.sections for f in s.figures]


def status_line(study: Study) -> str:
    """`12 runs, 11 finished, 1 failed`; runs of the folder that are in no arm are counted apart."""
    ours = study.runs[study.runs["arm"].notna()]
    parts = [f"{len(ours)} run{'s' * (len(ours) != 1)}"]
    parts += [f"{n} {status}" for status, n in ours["status"].value_counts().items()]
    tried = int((~study.runs["chosen"] & study.runs["tried_by"].notna()).sum()) if study.choices else 0
    others = len(study.runs) - len(ours) - tried
    more = f"; {tried} more at learning rates that their seed did not choose" if tried else ""
    return ", ".join(parts) + more + (f"; {others} more in no arm of the study" if others else "")
