"""Shares compared within cells, so that another mix of cells does not pass for a change."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

Cells = Mapping[Hashable, tuple[int, int]]


def standardised_shares(before: Cells, after: Cells) -> tuple[float, float] | None:
    """Shares before and after on one mix of cells: direct standardisation with the weights of `before`.

    Each maps a cell, as (topic, level), to (hits, total). Cells in which either has no total are left out of
    both, and the weight of a cell is its total in `before`: the share after is what it would be if answers
    had come from the cells that they came from before. None without a common cell.
    """
    shared = [c for c, (_, total) in before.items() if total and after.get(c, (0, 0))[1]]
    weight = sum(before[c][1] for c in shared)
    if not weight:
        return None
    first = sum(before[c][0] for c in shared) / weight
    second = sum(before[c][1] * after[c][0] / after[c][1] for c in shared) / weight
    return first, second
