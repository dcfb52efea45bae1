"""Gains of every committed arm over its untrained base, in four measures: the first figure of the README.

A study's `evaluations.csv` holds each run's test accuracy at step 0, which is the untrained base, and at its
last step. An arm's gain is the paired difference by seed (`paired_t`), and so is its difference to the
control. An interval varies seeds alone: problems are fixed, and so is a learning rate that was chosen once
for all seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.sentences import SMOKE_SEEDS
from analysis.stats.intervals import MIN_SEEDS, Interval, paired_t

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {
    "avg": "sampled at temperature 1",
    "maj": "majority vote",
    "greedy": "decoded greedily",
    "pass": "any of k samples right",
}
GENERATED = ("aime_gen", "reasoning", "general")  # tasks of generated problems begin so
# Settings of an arm that is there to fail, or to cheat: its gain says nothing about training.
CONTROLS = ("objective.reward.random", "objective.reward.inverted", "data.dose=")


def gains(folder: Path) -> pd.DataFrame:
    """One row an arm and measure of the studies in `folder`; accuracies and gains in [0, 1].

    Left out: controls (random or inverted rewards, test problems in training), studies that compare equal
    arms (factor `replicate`), published problems, smoke tests (three seeds or fewer), and an arm whose
    numbers another study has already given (the same runs under two names). Raises ValueError for a study
    with several tasks on the split that it is judged by.
    """
    import pandas as pd

    seen: set[tuple[float, ...]] = set()
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*/evaluations.csv")):
        study = json.loads((path.parent / "study.json").read_text(encoding="utf-8"))
        if "replicate" in study["factors"] or len(study["seeds"]) <= SMOKE_SEEDS:
            continue
        arms = _judged(path, study)
        for arm in study["arms"]:
            tested = arms.get(arm["label"])
            if tested is None or any(line.startswith(CONTROLS) for line in arm["overrides"]):
                continue
            numbers = tuple(tested["avg"])
            if numbers not in seen:
                seen.add(numbers)
                control = arms.get(_control(study, arm["levels"]) or "")
                rows += _arm_rows(study["study"], arm["label"], tested, control)
    return pd.DataFrame(rows)


def _judged(path: Path, study: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Evaluations of each arm on the generated problems that the study is judged by."""
    import pandas as pd

    frame = pd.read_csv(path)
    wanted = study["primary"].get("task") or study["primary"].get("split") or "test"
    frame = frame[(frame["split"] == wanted) | (frame["task"] == wanted)]
    frame = frame[frame["task"].str.startswith(GENERATED)]
    if frame["task"].nunique() > 1:
        raise ValueError(f"{path}: several tasks on {wanted}: {', '.join(sorted(set(frame['task'])))}")
    return {str(label): tested for label, tested in frame.groupby("arm")}


def _control(study: Mapping[str, Any], levels: Mapping[str, str]) -> str | None:
    """The label of the arm that an arm is compared with; None for the control itself."""
    factor = study["primary"].get("factor")
    if factor not in study["control"] or levels.get(factor) == study["control"][factor]:
        return None
    wanted = {**levels, factor: study["control"][factor]}
    return next((arm["label"] for arm in study["arms"] if arm["levels"] == wanted), None)


def _arm_rows(
    study: str, arm: str, tested: pd.DataFrame, control: pd.DataFrame | None
) -> Iterator[dict[str, Any]]:
    before, after = _first(tested), _last(tested)
    for measure in MEASURES:
        gain = _paired(after[measure], before[measure])
        if gain is None:
            continue
        against = None if control is None else _paired(after[measure], _last(control)[measure])
        yield {
            "study": study,
            "arm": arm,
            "measure": measure,
            "seeds": gain.n,
            "base": before[measure].mean(),
            "after": after[measure].mean(),
            "gain": gain.estimate,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "minus_control": None if against is None else against.estimate,
            "minus_control_low": None if against is None else against.low,
            "minus_control_high": None if against is None else against.high,
        }


def _first(tested: pd.DataFrame) -> pd.DataFrame:
    return tested[tested["step"] == 0].set_index("seed")


def _last(tested: pd.DataFrame) -> pd.DataFrame:
    """Last checkpoint of each seed: a run over epochs of accepted samples may end a step earlier."""
    return tested.sort_values("step").groupby("seed").last()


def _paired(first: pd.Series[float], second: pd.Series[float]) -> Interval | None:
    """Paired difference by seed; None below three shared seeds."""
    differences = (first - second).dropna()
    return paired_t(differences.to_numpy()) if len(differences) >= MIN_SEEDS else None


def directions(rows: pd.DataFrame) -> pd.Series[str]:
    """Side of 0 on which each row's interval of the gain lies: up (above), down (below), or unclear.

    A gain without an interval, as where all seeds gain the same, is unclear.
    """
    up, down = rows["gain_low"] > 0, rows["gain_high"] < 0
    return up.map({True: "up", False: "unclear"}).where(~down, "down")
