"""What a comparison needs of an evaluation problem by problem, without its completions."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.records.records import EvalRecord

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ByProblem:
    """Right samples of P problems: `right` [P, k]; the others [P].

    `cells` are (topic, level); `derived` counts right answers with a checked step, `sound` those of them
    whose every checked step is right, `sourced` those whose every operand is in the problem or an earlier
    result (None: the record does not say). `tokens` is the mean length of right answers, NaN without one.
    Of problems that consist of parts: `chains` [P, k] marks valid chains, `templates` and `base_logprobs` are
    the record's.
    """

    right: NDArray[np.bool_]
    cells: tuple[Hashable, ...]
    derived: Counts
    sound: Counts
    sourced: Counts | None
    tokens: NDArray[np.float64]
    chains: NDArray[np.bool_] | None = None
    templates: list[list[str | None]] | None = None
    base_logprobs: list[list[float | None]] | None = None

    def by_cell(self, hits: Counts) -> dict[Hashable, tuple[int, int]]:
        """Cell -> (hits, right derived answers), summed over its problems."""
        found: dict[Hashable, tuple[int, int]] = {}
        for cell, hit, total in zip(self.cells, hits.tolist(), self.derived.tolist(), strict=True):
            before = found.get(cell, (0, 0))
            found[cell] = before[0] + hit, before[1] + total
        return found


def by_problem(record: EvalRecord) -> ByProblem:
    """Sum up a record whose lists have been checked."""
    right = np.array(record.correct, dtype=bool)  # [P, k]
    derived = right & (np.array(record.num_steps) > 0)
    sound = derived & (np.array(record.num_wrong_steps) == 0)
    unsourced = record.num_unsourced_steps
    sourced = None if unsourced is None else (derived & (np.array(unsourced) == 0)).sum(axis=1)
    counts = right.sum(axis=1)
    tokens = (np.array(record.lengths) * right).sum(axis=1) / np.where(counts, counts, np.nan)
    cells = tuple(zip(record.topics, record.levels, strict=True))
    chains = None if record.valid_chains is None else np.array(record.valid_chains, dtype=bool)
    counted = derived.sum(axis=1), sound.sum(axis=1), sourced, tokens
    return ByProblem(right, cells, *counted, chains, record.templates, record.base_logprobs)
