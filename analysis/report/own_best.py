"""Accuracy of a committed study's arms at each model's own best sampling, from its evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.report.committed import Committed
from analysis.study.anatomy import best_sampling

if TYPE_CHECKING:
    from analysis.study.load import Sampling


def own_best_after(study: Committed, arm: str) -> pd.Series[Any]:
    """avg@k on the primary task after training, by seed, where avg@k on validation is best; in [0, 1].

    As `analysis.study.anatomy.own_best`: chosen inside each seed; seeds with one sampling, or without
    validation, are left out.
    """
    frame = study.table("evaluations")
    if frame.empty:
        return pd.Series(dtype=float)
    own = frame[(frame["arm"] == arm) & (frame["step"] > 0)]
    return _chosen(study, own[own["step"] == own.groupby("seed")["step"].transform("max")])


def own_best_at(study: Committed, arms: Sequence[str], step: int) -> pd.Series[Any]:
    """avg@k at one step, as `own_best_after`.

    At step 0 `arms` are those that share a base, whose rows at other temperatures stand at one of them.
    """
    frame = study.table("evaluations")
    own = frame[frame["arm"].isin(arms) & (frame["step"] == step)] if len(frame) else frame
    return _chosen(study, own)


def _chosen(study: Committed, own: pd.DataFrame) -> pd.Series[Any]:
    main = study.main_rows
    if own.empty or main.empty or "main" not in own:
        return pd.Series(dtype=float)
    measured, chooses = own[own["task"] == main["task"].iloc[0]], own[own["split"] == "validation"]
    found = {}
    for seed, rows in measured.groupby("seed"):
        scores = _by_sampling(chooses[chooses["seed"] == seed])
        values = _by_sampling(rows)
        shared = {sampling: scores[sampling] for sampling in values if sampling in scores}
        protocol = rows[rows["main"]]
        if len(shared) > 1 and len(protocol):
            start = (float(protocol["temperature"].iloc[0]), float(protocol["top_p"].iloc[0]))
            found[seed] = values[best_sampling(shared, main=start)]
    return pd.Series(found, dtype=float)


def _by_sampling(rows: pd.DataFrame) -> dict[Sampling, float]:
    columns = rows[["temperature", "top_p", "avg"]].itertuples(index=False)
    return {(float(temperature), float(top_p)): float(avg) for temperature, top_p, avg in columns}
