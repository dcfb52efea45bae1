"""Searches at equal tokens: a row a search and budget, beside a majority vote over as many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.margins import Margin
from analysis.stats.text import compact, interval_text, points
from analysis.study.bases import base_names
from analysis.study.contrasts import Primary, declared, what_varies
from analysis.study.load import Study
from analysis.study.search import SearchPoint
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

FARTHEST = 1.05  # times the vote's most tokens: a search that spent more is not compared
COLUMNS = ["of", "search"]


def search_table(study: Study, primary: Primary, found: Sequence[SearchPoint]) -> Table:
    """A row a search, a column a budget; a split of its own is named where there are several."""
    several = len({point.split for point in found}) > 1
    budgets = sorted({point.budget for point in found if point.budget is not None})
    rows: dict[tuple[str, str], dict[int | None, SearchPoint]] = {}
    for point in found:
        who = f"{point.who}, {point.split}" if several else point.who
        rows.setdefault((who, point.label), {})[point.budget] = point
    cells, raw = [], []
    for (who, label), points_of in rows.items():
        last = points_of[max(points_of, key=lambda budget: budget or 0)]
        shown = {
            budget or budgets[0]: _cell(study, primary, point, found) for budget, point in points_of.items()
        }
        spent = [compact(last.mean_tokens), compact(_mean(last.outputs)), points(_mean(last.any_right))]
        cells.append([who, label, *(shown.get(budget, "—") for budget in budgets), *spent])
        raw += [_raw(study, primary, point, found) for point in points_of.values()]
    note = (
        "Accuracy; in brackets that less a majority vote's (`best_of_n, rollout`) after as many tokens, with "
        "its interval. The vote is read off between its budgets in proportion to log tokens, paired by seed; "
        "it is not compared with what spent more than it ever did. Spent, outputs, any right (one of the "
        "outputs is right): at the search's largest budget. A search finishes what it began before its "
        "budget was spent; smaller budgets are read off the largest. Not counted: prompts, and what reward "
        "models were trained on and compute. The oracle reads the reference answers: a ceiling, no method. "
        f"Intervals: t over seeds; what varies: {what_varies(study)}. Not adjusted for the number of rows."
    )
    columns = [*COLUMNS, *(f"{budget:,} tokens" for budget in budgets), "spent", "outputs", "any right"]
    return Table("search", "Search at equal tokens", columns, cells, to_frame(raw), note)


def _cell(study: Study, primary: Primary, point: SearchPoint, found: Sequence[SearchPoint]) -> str:
    """`31.2 [29.0, 33.4]` of the vote and of greedy decoding, `31.2 (+1.1 [−0.2, +2.4])` of others."""
    accuracy = over_seeds(study, primary, point)
    if point.budget is None or point.is_vote:
        return interval_text(accuracy)
    difference = interval_text(against_vote(study, primary, point, found), signed=True)
    return f"{points(accuracy.estimate)} ({difference})"


def _raw(study: Study, primary: Primary, point: SearchPoint, found: Sequence[SearchPoint]) -> dict[str, Any]:
    return {
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
        **interval_columns("accuracy", over_seeds(study, primary, point)),
        **interval_columns("minus_vote", against_vote(study, primary, point, found)),
    }


def over_seeds(study: Study, primary: Primary, point: SearchPoint) -> Interval:
    """Accuracy over seeds."""
    return paired_t(list(point.accuracy.values()), level=primary.level, varies=what_varies(study))


def against_vote(
    study: Study, primary: Primary, point: SearchPoint, found: Sequence[SearchPoint]
) -> Interval | None:
    """Accuracy less the majority vote's after as many tokens, paired by seed; None where it is not known."""
    vote = vote_after(point, found, who=point.who)
    if point.budget is None or point.is_vote or not vote:
        return None
    gaps = [point.accuracy[seed] - value for seed, value in vote.items()]
    return paired_t(gaps, level=primary.level, varies=what_varies(study))


def vote_after(point: SearchPoint, found: Sequence[SearchPoint], *, who: str) -> dict[str, float]:
    """Seed -> the majority vote's accuracy of `who` after the tokens that a search spent.

    Between the vote's own points it is read off in proportion to the logarithm of tokens; before the first
    one, an output or two, it is the first. A seed whose vote never spent as many is left out.
    """
    votes = [p for p in found if p.is_vote and (p.who, p.split) == (who, point.split)]
    read = {}
    for seed, tokens in point.tokens.items():
        known = sorted((p.tokens[seed], p.accuracy[seed]) for p in votes if seed in p.tokens)
        if known and tokens <= FARTHEST * known[-1][0]:
            spent, accuracy = zip(*known, strict=True)
            read[seed] = float(np.interp(np.log(tokens), np.log(spent), accuracy))
    return read


def search_text(study: Study, primary: Primary, found: Sequence[SearchPoint]) -> list[str]:
    """A sentence an arm or base, at its largest budget: searches told from a vote, and the ceiling."""
    lines = []
    for who in dict.fromkeys(point.who for point in found):
        mine = [p for p in found if p.who == who and p.budget is not None and p.split == found[0].split]
        budget = max((p.budget or 0 for p in mine if not p.is_vote), default=0)
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


def rl_text(study: Study, primary: Primary, found: Sequence[SearchPoint]) -> list[str]:
    """A sentence an arm: its majority vote against the best search of its base, at the largest budget.

    The vote is not below the search by more than the declared share of what training adds to the vote, if
    the one-sided interval of d + share * g leaves 0 below it (d the difference, g the gain, by seed), all
    after as many tokens. The best search is that of the highest mean on the same problems, which flatters
    it; no oracle.
    """
    margin, lines = Margin.read(declared(study).get("margin")), []
    for arm, base in base_names(study, primary.task).items():
        mine = [p for p in found if p.who == base and p.split == found[0].split and p.budget]
        mine = [p for p in mine if not (p.uses_reference or p.is_vote)]
        budget = max((p.budget or 0 for p in mine), default=0)
        best = max((p for p in mine if p.budget == budget), key=lambda p: _mean(p.accuracy), default=None)
        if best is None:
            continue
        after, before = (vote_after(best, found, who=who) for who in (arm, base))
        seeds = [seed for seed in best.accuracy if seed in after and seed in before]
        if not seeds:
            continue
        gaps, gains = ([after[s] - of[s] for s in seeds] for of in (best.accuracy, before))
        difference = paired_t(gaps, level=primary.level, varies=what_varies(study))
        line = f"{arm}, {budget:,} tokens a problem: its majority vote is "
        line += f"{interval_text(difference, signed=True)} points from the best search of its base "
        line += f"({best.label}, chosen on these problems)"
        lines.append(f"{line}{_verdict(gaps, gains, margin, level=primary.level)}.")
    return lines


def _verdict(gaps: list[float], gains: list[float], margin: Margin | None, *, level: float) -> str:
    """Whether the vote is as good as the search, less a margin; nothing without one."""
    if margin is None:
        return ""
    allowed = [margin.value * (gain if margin.of_gain else 1.0) for gain in gains]
    less = paired_t([gap + more for gap, more in zip(gaps, allowed, strict=True)], level=2 * level - 1)
    within = margin.text(None, "training")
    if less.low is None or less.high is None:
        return ""
    if less.low > 0:
        return f"; not below it by more than {within}"
    return f"; below it by more than {within}" if less.high < 0 else f"; not told whether within {within}"


def _mean(values: dict[str, Any]) -> float:
    return sum(values.values()) / len(values)
