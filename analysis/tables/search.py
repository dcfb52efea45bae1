"""Searches at equal tokens: a row a search and budget, beside a majority vote over as many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import compact, interval_text, points
from analysis.study.contrasts import Primary, what_varies
from analysis.study.load import Study
from analysis.study.search import SearchPoint
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

COLUMNS = ["of", "search", "budget", "tokens spent", "outputs", "accuracy", "− majority vote", "any right"]


def search_table(study: Study, primary: Primary, found: Sequence[SearchPoint]) -> Table:
    """A row a search and budget; a split of its own is named where there are several."""
    several = len({point.split for point in found}) > 1
    cells, raw = [], []
    for point in found:
        accuracy, difference = over_seeds(study, primary, point), against_vote(study, primary, point, found)
        own = [point.label, "—" if point.budget is None else f"{point.budget:,}", compact(point.mean_tokens)]
        cells.append(
            [
                f"{point.who}, {point.split}" if several else point.who,
                *own,
                compact(_mean(point.outputs)),
                interval_text(accuracy),
                "control" if point.is_vote else interval_text(difference, signed=True),
                points(_mean(point.any_right)),
            ]
        )
        raw.append(
            {
                "of": point.who,
                "split": point.split,
                "search": point.label,
                "fn": point.fn,
                "value": point.value,
                "uses_reference": point.uses_reference,
                "budget": point.budget,
                "tokens": point.mean_tokens,
                "outputs": _mean(point.outputs),
                "any_right": _mean(point.any_right),
                "seeds": len(point.accuracy),
                **interval_columns("accuracy", accuracy),
                **interval_columns("minus_vote", difference),
            }
        )
    note = (
        "Tokens and outputs a problem, prompts apart. A search finishes what it began before its budget was "
        "spent, so it may spend a little more; smaller budgets are read off the largest. The vote is that of "
        "`best_of_n, rollout` at the same budget, paired by seed. Any right: one of its outputs is right. "
        "The oracle reads the reference answers: it is a ceiling and no method. Brackets: t over seeds; what "
        f"varies: {what_varies(study)}. Not adjusted for the number of rows."
    )
    return Table("search", "Search at equal tokens", COLUMNS, cells, to_frame(raw), note)


def over_seeds(study: Study, primary: Primary, point: SearchPoint) -> Interval:
    """Accuracy over seeds."""
    return paired_t(list(point.accuracy.values()), level=primary.level, varies=what_varies(study))


def against_vote(
    study: Study, primary: Primary, point: SearchPoint, found: Sequence[SearchPoint]
) -> Interval | None:
    """Accuracy less the majority vote's at the same budget, paired by seed; None where there is none."""
    place = (point.who, point.split, point.budget)
    votes = [p for p in found if p.is_vote and (p.who, p.split, p.budget) == place]
    if point.budget is None or point.is_vote or not votes:
        return None
    seeds = [seed for seed in point.accuracy if seed in votes[0].accuracy]
    gaps = [point.accuracy[seed] - votes[0].accuracy[seed] for seed in seeds]
    return paired_t(gaps, level=primary.level, varies=what_varies(study)) if gaps else None


def search_text(study: Study, primary: Primary, found: Sequence[SearchPoint]) -> list[str]:
    """A sentence an arm or base, at its largest budget: searches told from a vote, and the ceiling."""
    lines = []
    for who in dict.fromkeys(point.who for point in found):
        mine = [p for p in found if p.who == who and p.budget is not None and p.split == found[0].split]
        budget = max((p.budget or 0 for p in mine if p.is_vote), default=0)
        compared: list[tuple[SearchPoint, Interval]] = [
            (p, difference)
            for p in mine
            if p.budget == budget and (difference := against_vote(study, primary, p, found)) is not None
        ]
        methods = [(p, d) for p, d in compared if not p.uses_reference]
        if not methods:
            continue
        above = [f"{p.label} {interval_text(d, signed=True)}" for p, d in methods if d.low and d.low > 0]
        below = [f"{p.label} {interval_text(d, signed=True)}" for p, d in methods if d.high and d.high < 0]
        said = [
            f"{name}: {', '.join(names)}" for name, names in (("above", above), ("below", below)) if names
        ]
        text = "; ".join(said) or f"none of {len(methods)} other searches is told from it"
        ceiling = max((d.estimate for p, d in compared if p.uses_reference), default=None)
        text += (
            ""
            if ceiling is None
            else f". An oracle's choice is {points(ceiling, signed=True)} points from it"
        )
        lines.append(f"{who}, {budget:,} tokens a problem, against a majority vote over as many: {text}.")
    return lines


def _mean(values: dict[str, Any]) -> float:
    return sum(values.values()) / len(values)
