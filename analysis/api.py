"""The analysis from Python: `from analysis import load_study, compare, power`.

Folders are given as paths or texts. What is wrong raises ValueError in one line. Nothing heavy is imported
before it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.study.load import Study
from analysis.study.load import load_study as _load

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare", "load_study", "power"]


def load_study(folder: str | Path) -> Study:
    """A study's folder as pandas frames: `.runs`, `.evaluations` and `.steps`, accuracies in [0, 1].

    Raises ValueError for a folder without runs.
    """
    return _load(Path(folder))


def compare(
    first: str | Path | Study,
    second: str | Path | Study | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    tasks: Sequence[str] = (),
    step: int | None = None,
) -> pd.DataFrame:
    """The arms of a study against their controls, the arms that two studies share, or other tools' logs.

    One study: a row an arm, as `arms.csv` has it (`estimate`, `difference`, `gain_over_base`, each with
    `_low` and `_high`; `verdict`). Two studies: `first`, `second` and their `difference`, paired by seed.
    Logs of lm-eval, Inspect, verl or TRL: a row a task; `columns` and what follows it are theirs, as in
    `r1-report compare`. Accuracies in [0, 1]. Raises ValueError for studies without a common arm.
    """
    if not isinstance(first, Study) and second is not None and not isinstance(second, Study):
        from analysis.study.logs.sides import Options, is_logs

        if is_logs(str(first)) or is_logs(str(second)):
            from analysis.report.logs import compare_logs

            options = Options(columns or {}, metrics, tasks, step)
            return compare_logs(str(first), str(second), options).table.raw
    one = first if isinstance(first, Study) else load_study(first)
    if second is None:
        from analysis.study.contrasts import arm_results, primary_of
        from analysis.tables.arms import arm_table

        primary = primary_of(one)
        return arm_table(one, primary, arm_results(one, primary)).raw
    from analysis.report.compare import compare_table

    return compare_table(one, second if isinstance(second, Study) else load_study(second)).raw


def power(
    *,
    sd: float,
    effect: float | None = None,
    seeds: int | None = None,
    alpha: float = 0.05,
    target: float = 0.8,
) -> float:
    """Seeds that find `effect`, the effect that `seeds` find, or with both the power of that study.

    Two-sided paired t test; `sd` of the per-seed differences and `effect` in one unit, such as points. Raises
    ValueError for neither, and for numbers that no study has.
    """
    from analysis.stats import inference

    if not (0 < sd < inf and 0 < alpha < target < 1):
        raise ValueError(f"sd={sd}, alpha={alpha}, target={target}: need sd > 0 and 0 < alpha < target < 1")
    if effect is None and seeds is None:
        raise ValueError("give effect (how many seeds?), seeds (how small a difference?), or both")
    if effect is not None and not 0 < abs(effect) < inf:
        raise ValueError(f"effect={effect}: give the smallest difference that matters")
    if seeds is not None and seeds < 2:
        raise ValueError(f"seeds={seeds}: need at least 2")
    if effect is None:
        return inference.smallest_detectable(sd=sd, num_seeds=int(seeds or 0), alpha=alpha, target=target)
    if seeds is None:
        return inference.seeds_needed(effect=effect, sd=sd, alpha=alpha, target=target)
    return inference.power(effect=effect, sd=sd, num_seeds=seeds, alpha=alpha)
