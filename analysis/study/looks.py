"""The rule by which a study added seeds, and the looks made by it: what its intervals allow for."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis.stats.sequential import Looks, schedule
from harness.records.declarations import read_declaration
from harness.records.looks import SeedRule, read_looks
from harness.records.reading import RecordError


def seed_rule(folder: Path, declared: Mapping[str, Any]) -> SeedRule | None:
    """The rule of looks.json or, before the first look, the declared one. Raises RecordError."""
    if (found := read_looks(folder)) is not None:
        return found.rule
    try:
        return SeedRule.model_validate(declared["until"]) if declared.get("until") else None
    except ValidationError:
        where = f"{folder / 'study.json'}: declared.until is no rule for seeds"
        raise RecordError(where, "launch the study again to rewrite it") from None


def looks_of(folder: Path, declared: Mapping[str, Any], primary: Mapping[str, Any]) -> Looks | None:
    """The rule and its looks for the estimators; None where no rule added seeds.

    Without a record every planned look counts as made, which is the wider interval. Raises RecordError.
    """
    rule = seed_rule(folder, declared)
    if rule is None:
        return None
    planned = schedule(rule.first, rule.step, rule.max_seeds)
    found = read_looks(folder)
    made = sorted({look.num_seeds for look in found.looks}) if found and found.looks else planned
    return Looks(
        schedule=planned,
        counts=tuple(made),
        by_width=rule.half_width is not None,
        alpha=round(1 - float(primary.get("level", 0.95)), 9),
    )


def goal_text(rule: SeedRule) -> str:
    """`the half width was 0.5 points or less`."""
    if rule.half_width is None:
        return "every primary contrast was better, worse or equivalent"
    return f"the half width of the primary contrast was at most {rule.half_width:g} points"


def looks_text(folder: Path, declared: Mapping[str, Any]) -> str | None:
    """`Seeds were added until ... (3 looks, ...); intervals on differences are adjusted for the looks.`"""
    try:
        rule, found = seed_rule(folder, declared), read_looks(folder)
    except RecordError as error:
        return f"Seeds were added by a rule that cannot be read: {error}."
    if rule is None:
        return None
    counts = [str(look.num_seeds) for look in found.looks] if found else []
    text = f"Seeds were added until {goal_text(rule)}, or {rule.max_seeds} seeds had run"
    made = f"{len(counts)} look{'s' * (len(counts) != 1)}, at {', '.join(counts)} seeds"
    text += f" ({made})" if counts else " (no look yet)"
    if found and found.looks and not found.looks[-1].done and found.looks[-1].num_seeds < rule.max_seeds:
        text += "; it goes on"
    return f"{text}. Intervals on differences, and their p-values, are adjusted for the looks."


def by_hand_text(folder: Path, seeds: list[int]) -> str | None:
    """Say which seeds were added after runs had finished, without a rule; None where none is known to be."""
    try:
        found, looks = read_declaration(folder), read_looks(folder)
    except RecordError:
        return None
    entries = found.entries if found else []
    added: dict[int, int] = {}
    for before, after in pairwise(entries):
        if after.runs_finished and "until" not in after.content:
            new = set(after.content.get("seeds", ())) - set(before.content.get("seeds", ()))
            added |= {int(s): after.runs_finished for s in new if int(s) in seeds}
    if looks is not None and looks.looks:
        ran = looks.rule.seeds[: looks.looks[-1].num_seeds]
        added |= {s: added.get(s, 0) for s in seeds if s not in looks.rule.seeds and s not in ran}
    if not added:
        return None
    listed = ", ".join(map(str, sorted(added)))
    when = f"after {max(added.values())} runs had finished" if any(added.values()) else "beside its rule"
    return (
        f"seeds {listed} were added by hand {when}, by no declared rule: if results were looked at before, "
        "intervals are too narrow and p-values too small"
    )
