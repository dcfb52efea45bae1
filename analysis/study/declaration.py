"""Was the study declared before its first run, and what changed after that."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from analysis.study.configs import flatten
from analysis.study.load import Study
from harness.records.declarations import Declaration, read_declaration
from harness.records.reading import RecordError


@dataclass(frozen=True)
class Declared:
    """`before`: the first declaration was made when no run had started; None without a readable one.

    `changes`: one line a field that a later declaration, or study.json, has otherwise.
    """

    before: bool | None
    text: str
    sha256: str | None = None
    changes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Content of `declaration` in finding.json."""
        return {"before_first_run": self.before, "sha256": self.sha256, "changes": self.changes}


def declaration_of(study: Study) -> Declared:
    """Compare a study's declarations with each other and the last one with what study.json says."""
    try:
        found = read_declaration(study.folder)
    except RecordError as error:
        return Declared(None, f"Not shown to be declared beforehand: {error}.")
    if found is None:
        return Declared(None, "Not declared beforehand: the study has no declaration.json.")
    first = found.entries[0]
    said = f"(sha256 {first.sha256[:12]}…, {first.time})"
    if first.runs_started:
        text = f"Declared only after {first.runs_started} runs had started"
        text += f", of which {first.runs_finished} had finished"
        return Declared(False, f"{text} {said}.", first.sha256, _changes(found, study))
    return Declared(True, f"Declared before the first run {said}.", first.sha256, _changes(found, study))


def declaration_lines(study: Study) -> list[str]:
    """The declaration for the report's first section, and each change after it."""
    found = declaration_of(study)
    if not found.changes:
        return [found.text]
    return [f"{found.text} Changed after that: {'; '.join(found.changes)}."]


def _changes(found: Declaration, study: Study) -> list[str]:
    lines = []
    for before, after in pairwise(found.entries):
        lines += [
            f"{said}, after {after.runs_finished} finished runs"
            for said in _differences(before.content, after.content)
        ]
    last = found.entries[-1].content
    record = {"question": study.record.question, "primary": study.record.primary}
    rules = ("margin", "family", "nulls", "ceiling", "checkpoint")
    found_there = {k: study.record.declared.get(k) for k in rules}
    given = {k: v for k, v in found_there.items() if v not in (None, [], "last")}  # not at its default
    declared = {k: last[k] for k in (*record, *rules) if k in last}
    lines += [f"{said}, in study.json" for said in _differences(declared, record | given)]
    if missing := sorted(set(map(str, last.get("seeds", []))) - set(map(str, study.record.seeds)), key=int):
        lines.append(f"declared seeds without a run: {', '.join(missing)}")
    return lines


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """`margin 0.03 → 0.05`: fields whose values differ, dotted; an absent one is at its default."""
    first, second = flatten(before), flatten(after)
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    return [f"{key} {_shown(first.get(key))} → {_shown(second.get(key))}" for key in keys]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return "default" if value is None else str(value)
