"""Gains of every committed arm over its untrained base, in five measures: the first figure of the README.

A study's `evaluations.csv` holds each run's test accuracy at step 0, which is the untrained base, and at its
last step. An arm's gain is the paired difference by seed (`paired_t`), and so is its difference to the
control. At own best temperatures it is the gain that the report's `anatomy.csv` has, among temperatures down
to `coldest`. An interval varies seeds
alone: problems are fixed, and so is a learning rate that was chosen once for all seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.committed import FILE, SMOKE_SEEDS, Committed, Ends
from analysis.stats.intervals import MIN_SEEDS, Interval, paired_t

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {
    "avg": "sampled at temperature 1",
    "best": "sampled, base and arm each at its own best temperature",
    "maj": "majority vote",
    "greedy": "decoded greedily",
    "pass": "any of k samples right",
}
ENDS = ("avg", "maj", "greedy", "pass")  # of evaluations.csv
# Tasks of generated problems begin so; the mixtures that are committed hold no others.
GENERATED = ("aime_gen", "reasoning", "general", "code_gen", "mixture")
# Settings of an arm that is there to fail, or to cheat: its gain says nothing about training.
CONTROLS = (
    "objective.reward.random",
    "objective.reward.inverted",
    "objective=grpo_format_only",
    "objective.offline.form=answer",  # learns answers by heart
    "data.dose=",
    "corpus=leaked",
)


def gains(folder: Path) -> pd.DataFrame:
    """One row an arm and measure of the studies in `folder`; accuracies and gains in [0, 1].

    Left out: controls (random, inverted or format-only rewards, bare answers learnt by heart, a declared
    ceiling, test problems in training or pretraining), studies that compare equal arms (factor `replicate`),
    published problems, smoke tests (three seeds or fewer), and an arm whose numbers another study has already
    given (the same runs under two names). Raises ValueError for a study with several tasks on the split that
    it is judged by.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for study, arm, ends in trained_arms(folder):
        control = study.plan["control"].get(study.factor, "")
        levels = next(a["levels"] for a in study.plan["arms"] if a["label"] == arm)
        other = study.accuracy.get(study.compared_with(levels, control) or "")
        rows += _arm_rows(study.name, arm, ends, other)
        rows += _best_rows(study, arm)
    return pd.DataFrame(rows)


def trained_arms(folder: Path) -> Iterator[tuple[Committed, str, Ends]]:
    """Each arm that `gains` counts, with its study and its accuracies before and after training."""
    seen: set[tuple[float, ...]] = set()
    for path in sorted(folder.glob(f"*/{FILE}")):
        study = Committed.read(path.parent)
        if "replicate" in study.plan.get("factors", {}) or study.seeds <= SMOKE_SEEDS:
            continue
        for arm in counted_arms(study):
            ends = study.accuracy[arm]
            if (numbers := tuple(ends.after["avg"])) not in seen:
                seen.add(numbers)
                yield study, arm, ends


def counted_arms(study: Committed) -> Iterator[str]:
    """Arms that are no control and no ceiling, evaluated on generated problems."""
    ceiling = study.plan.get("declared", {}).get("ceiling")
    for arm in study.plan.get("arms", ()):
        ends = study.accuracy.get(arm["label"])
        controls = any(line.startswith(CONTROLS) for line in arm.get("overrides", ()))
        generated = ends is not None and ends.after["task"].iloc[0].startswith(GENERATED)
        is_ceiling = ceiling is not None and arm["levels"].get(study.factor) == ceiling
        if generated and not controls and not is_ceiling:
            yield arm["label"]


def _arm_rows(study: str, arm: str, ends: Ends, control: Ends | None) -> Iterator[dict[str, Any]]:
    before, after = ends
    for measure in ENDS:
        gain = _paired(after[measure], before[measure])
        if gain is None:
            continue
        against = None if control is None else _paired(after[measure], control.after[measure])
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


def _best_rows(study: Committed, arm: str) -> Iterator[dict[str, Any]]:
    """The gain at own best temperatures as the report has it; none where no other temperature was sampled."""
    table, config = study.table("anatomy"), study.config
    temperatures = [config.get("eval.temperature", 1.0), *(config.get("eval.temperatures") or ())]
    for row in table[table["arm"] == arm].dropna(subset="best_gain").to_dict("records") if len(table) else ():
        ends = {name: row[f"best_{name}"] for name in ("gain", "gain_low", "gain_high")}
        yield {
            "study": study.name,
            "arm": arm,
            "measure": "best",
            "coldest": min(map(float, temperatures)),
            "seeds": row["best_gain_df"] + 1,
            "base": row["best"] - row["best_gain"],
            "after": row["best"],
            **ends,
        }


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
