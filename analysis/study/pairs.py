"""Two arms compared: per-seed differences, or unpaired where the launch ruled so; new problems as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.stats.crossed import crossed_t
from analysis.stats.intervals import Interval, paired_t, welch_t
from analysis.study.configs import problems_of
from analysis.study.draws import is_paired, what_varies
from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd

Rows = Mapping[str, "pd.Series[Any]"]  # seed -> evaluation row


def shared_seeds(pairs: Iterable[tuple[Rows, Rows]], metric: str) -> list[str]:
    """Seeds at which every pair has the metric on both sides, measured on the same problems."""
    pairs = list(pairs)
    return [
        s
        for s in (pairs[0][0] if pairs else ())
        if all(s in rows and has(rows[s], metric) for pair in pairs for rows in pair)
        and all(problems_of(a[s]) == problems_of(b[s]) for a, b in pairs)
    ]


def paired(first: Rows, second: Rows, metric: str, *, level: float, varies: str) -> Interval | None:
    """t interval on per-seed differences first − second over shared seeds; None without any."""
    seeds = shared_seeds([(first, second)], metric)
    if not seeds:
        return None
    return paired_t([first[s][metric] - second[s][metric] for s in seeds], level=level, varies=varies)


def contrast(
    study: Study, cells: Sequence[tuple[Rows, Rows]], metric: str, *, level: float
) -> Interval | None:
    """Arm minus other, the mean over cells of the other factors; paired by seed, or as the launch ruled.

    Unpaired: Welch's t between the arms' per-seed means, each over the seeds that all of its cells have. None
    without a seed. Adjusted for the looks of a study that adds seeds by a rule.
    """
    found = plain_contrast(study, cells, metric, level=level)
    return found if found is None or study.looks is None else study.looks.adjusted(found)


def plain_contrast(
    study: Study, cells: Sequence[tuple[Rows, Rows]], metric: str, *, level: float
) -> Interval | None:
    """`contrast` as if its number of seeds had been fixed beforehand."""
    varies = what_varies(study)
    if is_paired(study):
        seeds = shared_seeds(cells, metric)
        values = [float(np.mean([a[s][metric] - b[s][metric] for a, b in cells])) for s in seeds]
        return paired_t(values, level=level, varies=varies) if values else None
    same = next((problems_of(row) for pair in cells for rows in pair for row in rows.values()), None)
    sides = [_seed_means([pair[side] for pair in cells], metric, same) for side in (0, 1)]
    return welch_t(*sides, level=level, varies=varies) if all(sides) else None


def _seed_means(cells: Sequence[Rows], metric: str, problems: object) -> list[float]:
    """Per seed that every cell has on these problems, the mean over cells."""

    def known(cell: Rows, seed: str) -> bool:
        return seed in cell and has(cell[seed], metric) and problems_of(cell[seed]) == problems

    seeds = [s for s in (cells[0] if cells else ()) if all(known(cell, s) for cell in cells)]
    return [float(np.mean([cell[s][metric] for cell in cells])) for s in seeds]


def crossed(study: Study, first: Rows, second: Rows, *, level: float) -> Interval | None:
    """Seeds × problems interval on avg@k differences; None where arms or seeds have problems of their own.

    Adjusted for looks as `contrast` is.
    """
    seeds = [s for s in first if s in second]
    if not seeds or len({problems_of(r[s]) for r in (first, second) for s in seeds}) != 1:
        return None
    grid = np.array([np.subtract(first[s]["per_problem"], second[s]["per_problem"]) for s in seeds])
    if study.looks is None:
        return crossed_t(grid, level=level)
    return study.looks.restated(crossed_t(grid, level=study.looks.plain_level(level, len(seeds))), level)


def has(row: pd.Series[Any], name: str) -> bool:
    """True if the row has a finite value; pandas fills what a record leaves out with NaN."""
    value = row[name]
    return value is not None and bool(np.isfinite(float(value)))
