"""Two methods by other tools' logs: a row a task, paired by problem, and by seed where there are several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.stats.crossed import crossed_t
from analysis.stats.inference import holm
from analysis.stats.intervals import MIN_SEEDS, Interval, paired_t, problems_t, welch_t
from analysis.stats.text import interval_text, p_text, points
from analysis.study.logs.sides import Grid
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table

MIN_DIFFERING = (
    10  # problems; with fewer a t over problems held the truth in as little as 55 % of simulations
)
EQUAL = 1e-12  # shares closer than this are equal
SEEDS = "seeds, whatever the logs' seeds are of; the problems are fixed"


@dataclass(frozen=True)
class LogContrast:
    """One task: `difference` is second − first, over seeds where each side has three or more, else problems.

    `new_problems` lets seeds and problems vary; None without three seeds in both. `won` and `lost` count
    problems on which the second is better or worse, by the mean over seeds and samples.
    """

    grid: Grid
    first: float
    second: float
    difference: Interval
    new_problems: Interval | None
    won: int
    lost: int
    p_holm: float | None = None


def log_contrasts(grids: Sequence[Grid], *, level: float = 0.95) -> list[LogContrast]:
    """Compare every task, with Holm over the tasks."""
    found = [_contrast(grid, level) for grid in grids]
    tested = [i for i, each in enumerate(found) if each.difference.p_value is not None]
    adjusted = holm([p for i in tested if (p := found[i].difference.p_value) is not None])
    for i, p in zip(tested, adjusted, strict=True):
        found[i] = replace(found[i], p_holm=p)
    return found


def _contrast(grid: Grid, level: float) -> LogContrast:
    """Paired by seed where three are in both, else Welch's t over seeds, else over problems."""
    rows = [[list(seeds).index(s) for s in grid.shared] for seeds in grid.seeds]
    first, second, new_problems = grid.first, grid.second, None  # [S1, P], [S2, P]
    if len(grid.shared) >= MIN_SEEDS:
        first, second = first[rows[0]], second[rows[1]]  # [S, P]
        difference = paired_t((second - first).mean(axis=1), level=level, varies=SEEDS)
        new_problems = crossed_t(second - first, level=level)
    elif min(map(len, grid.seeds)) >= MIN_SEEDS:
        difference = welch_t(second.mean(axis=1), first.mean(axis=1), level=level, varies=SEEDS)
    else:
        difference = _over_problems(second.mean(axis=0) - first.mean(axis=0), level)
    apart = second.mean(axis=0) - first.mean(axis=0)  # [P]
    won, lost = int((apart > EQUAL).sum()), int((apart < -EQUAL).sum())
    return LogContrast(
        grid, float(first.mean()), float(second.mean()), difference, new_problems, won=won, lost=lost
    )


def _over_problems(apart: Any, level: float) -> Interval:
    """t over problems; without an interval where few of them differ."""
    found = problems_t(apart, np.zeros_like(apart), level=level)
    differing = int((np.abs(apart) > EQUAL).sum())
    if differing >= MIN_DIFFERING and found.low is not None:
        return found
    reason = f"the two differ on {differing} problem{'s' * (differing != 1)}: {MIN_DIFFERING} are needed"
    return replace(
        found, low=None, high=None, se=None, df=None, p_value=None, reason=f"{reason} for an interval"
    )


def logs_table(contrasts: Sequence[LogContrast], names: tuple[str, str]) -> Table:
    """The comparison as a table, accuracies in points."""
    import pandas as pd

    columns = ["task", "problems", "samples", "seeds", *names]
    columns += ["second − first", "p (Holm)", "better / worse on", "new problems too", "what varies"]
    note = (
        "Points of accuracy on the problems of both. Brackets: 95 % intervals, paired by problem. "
        f"Holm adjusts over {len(contrasts)} task{'s' * (len(contrasts) != 1)}. Better, worse: problems on "
        "which the second has a higher, a lower share of right samples. New problems too: seeds and problems "
        "vary, problems of the same kinds."
    )
    raw = pd.DataFrame([_raw(each) for each in contrasts])
    return Table("compare", " and ".join(names), columns, [_cells(each) for each in contrasts], raw, note)


def _cells(each: LogContrast) -> list[str]:
    low, high = each.grid.samples
    shown = interval_text(each.difference, signed=True)
    return [
        each.grid.task,
        str(each.grid.first.shape[1]),
        str(low) if low == high else f"{low}–{high}",
        seeds_text(each.grid),
        points(each.first),
        points(each.second),
        shown + (f" ({each.difference.reason})" if each.difference.reason else ""),
        p_text(each.p_holm),
        f"{each.won} / {each.lost}",
        interval_text(each.new_problems, signed=True),
        each.difference.varies,
    ]


def seeds_text(grid: Grid) -> str:
    """`3`, or `3 and 4, unpaired`."""
    first, second = map(len, grid.seeds)
    if len(grid.shared) >= MIN_SEEDS or (first == second == len(grid.shared)):
        return str(len(grid.shared))
    return f"{first}" if first == second == 1 else f"{first} and {second}, unpaired"


def _raw(each: LogContrast) -> dict[str, Any]:
    row: dict[str, Any] = {"task": each.grid.task, "problems": each.grid.first.shape[1]}
    row |= dict(zip(("samples_min", "samples_max"), each.grid.samples, strict=True))
    row |= dict(zip(("seeds_first", "seeds_second"), map(len, each.grid.seeds), strict=True))
    row |= {"first": each.first, "second": each.second}
    row |= interval_columns("difference", each.difference) | {
        "p": each.difference.p_value,
        "p_holm": each.p_holm,
    }
    row |= interval_columns("new_problems", each.new_problems)
    row |= {
        "won": each.won,
        "lost": each.lost,
        "method": each.difference.method,
        "varies": each.difference.varies,
    }
    return row | {"reason": each.difference.reason}


def problems_table(contrasts: Sequence[LogContrast]) -> Any:
    """A frame with a row a task and problem: the digest that paired it, and both shares of right samples."""
    import pandas as pd

    frames = []
    for each in contrasts:
        grid = each.grid
        shares = {"first": grid.first.mean(axis=0), "second": grid.second.mean(axis=0)}
        frames.append(pd.DataFrame({"task": grid.task, "problem": grid.problems, **shares}))
    return pd.concat(frames, ignore_index=True)
