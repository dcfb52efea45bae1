"""Is it the chosen rate? Gains of every committed arm at the learning rate below the one its seeds chose.

Seeds choose a rate by samples at temperature 1. What a larger rate costs elsewhere, in greedy answers say,
is then laid to the objective. Here each seed's run at the next lower rate of its grid stands beside its
chosen one, whatever the measure says: nothing is chosen a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.all_arms import ENDS, directions, trained_arms
from analysis.stats.intervals import MIN_SEEDS, paired_t
from analysis.stats.text import points

if TYPE_CHECKING:
    import pandas as pd

    from analysis.report.committed import Committed

WORDS = {
    "avg": "sampled at temperature 1",
    "greedy": "greedy",
    "maj": "majority vote",
    "pass": "any of k samples",
}


def lower_rate_gains(folder: Path) -> pd.DataFrame:
    """One row an arm, measure and `rate` (chosen or lower); gains over the base in [0, 1], on the same seeds.

    Seeds that chose the lowest rate of their grid have no lower one, and are left out of both; so are arms
    with fewer than three seeds left, and those that `gains` leaves out.
    """
    import pandas as pd

    return pd.DataFrame([row for study, arm, _ in trained_arms(folder) for row in _rows(study, arm)])


def _rows(study: Committed, arm: str) -> Iterator[dict[str, Any]]:
    frame = study.main_rows
    if "tried_by" not in frame:
        return
    start = frame[(frame["arm"] == arm) & (frame["step"] == 0)]
    base = {seed: rows.iloc[0] for seed, rows in start.groupby("seed")}
    own = frame[(frame["tried_by"] == arm) & (frame["step"] > 0)].groupby(["seed", "lr"]).tail(1)
    pairs = {}
    for seed, runs in own.groupby("seed"):
        chosen = runs[runs["arm"] == arm]
        lower = runs[runs["lr"] < chosen["lr"].iloc[0]] if len(chosen) == 1 else runs[:0]
        if len(lower) and seed in base:
            pairs[seed] = (chosen.iloc[0], lower.sort_values("lr").iloc[-1])
    for measure in ENDS:
        known = [s for s, two in pairs.items() if all(r[measure] == r[measure] for r in (*two, base[s]))]
        if len(known) < MIN_SEEDS:
            continue
        for index, rate in enumerate(("chosen", "lower")):
            gain = paired_t([pairs[s][index][measure] - base[s][measure] for s in known])
            yield {
                "study": study.name,
                "arm": arm,
                "measure": measure,
                "rate": rate,
                "seeds": gain.n,
                "gain": gain.estimate,
                "gain_low": gain.low,
                "gain_high": gain.high,
            }


def lower_rates_section(rows: pd.DataFrame) -> list[str]:
    """The section of the findings page; none where no study has tried rates inside its seeds."""
    if rows.empty:
        return []
    sides = directions(rows)
    lines = [
        "| measure | rate | median gain | arms that rise | arms that fall |",
        "| --- | --- | --- | --- | --- |",
    ]
    for measure, word in WORDS.items():
        for rate in ("chosen", "lower"):
            own = (rows["measure"] == measure) & (rows["rate"] == rate)
            if own.any():
                counts = " | ".join(str(int((sides[own] == side).sum())) for side in ("up", "down"))
                gain = points(float(rows[own]["gain"].median()), signed=True)
                lines.append(f"| {word} | {rate} | {gain} | {counts} |")
    number = len(rows[["study", "arm"]].drop_duplicates())
    arms = "1 arm" if number == 1 else f"{number} arms"
    return [
        "### Is it the chosen rate?",
        "Seeds choose their rate by samples at temperature 1. Of the same arms, at the rate that each seed "
        f"chose and at the next lower one of its grid ({arms} of which three seeds or more have one):",
        "\n".join(lines),
        "Median gain: over arms, in points over the untrained base, on the same seeds at both rates. An arm "
        "rises or falls where its interval lies above 0 or below. The lower rate also trains less: that an "
        "objective costs greedy answers nothing at equal gain is not shown. Votes at temperature 1 and any "
        "of k rise where a distribution narrows a little, too · [numbers](lower_rates.csv)",
    ]
