"""Does a gain reach families that training never sees? The ratio of gains, untrained to trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.ratio import share_of_gain
from analysis.study.anatomy import BEST, own_best
from analysis.study.contrasts import Primary, evaluated_tasks, final_rows, has, what_varies
from analysis.study.load import Study
from analysis.study.pairs import Rows

MEASURES = ("avg", BEST, "greedy")
HELDOUT = "heldout"  # the split of families that training never sees
STAYS, CARRIES = 0.25, 0.5  # ratios below the one and above the other decide
Word = Literal["stays", "carries over", "undecided"]


@dataclass(frozen=True)
class Transfer:
    """Gains of one arm in one measure on trained and on untrained families, and their ratio by Fieller.

    `ratio` is None where the mean gain on trained families is not above 0.
    """

    label: str
    measure: str
    trained: Interval
    untrained: Interval
    ratio: Interval | None

    @property
    def claimed(self) -> Interval | None:
        """The ratio, where the gain on trained families is told from 0."""
        return self.ratio if self.trained.low is not None and self.trained.low > 0 else None

    @property
    def word(self) -> Word | None:
        """Whether the gain carries over to untrained families; None where no ratio is claimed."""
        ratio = self.claimed
        if ratio is None or ratio.low is None or ratio.high is None:
            return None
        return "stays" if ratio.high < STAYS else "carries over" if ratio.low > CARRIES else "undecided"


def transfers(study: Study, primary: Primary) -> list[Transfer]:
    """Every arm and measure, over the seeds that have both gains; none without a split of such families.

    Trained families are those of the primary task or, where that is of untrained ones, of the test.
    """
    tasks = evaluated_tasks(study)
    other = next((task for task, split in tasks.items() if split == HELDOUT), None)
    own = next((task for task, split in tasks.items() if split == "test"), None)
    own = own if primary.task == other else primary.task
    if other is None or own is None:
        return []
    found = []
    for label in (arm.label for arm in study.record.arms):
        for measure in MEASURES:
            seen = _gains(study, label, own, measure)
            unseen = _gains(study, label, other, measure)
            if seeds := [seed for seed in seen if seed in unseen]:
                found.append(_transfer(study, primary, label, measure, [(seen[s], unseen[s]) for s in seeds]))
    return found


def _transfer(
    study: Study, primary: Primary, label: str, measure: str, pairs: list[tuple[float, float]]
) -> Transfer:
    settings: Any = {"level": primary.level, "varies": what_varies(study)}
    trained, untrained = zip(*pairs, strict=True)
    ratio = share_of_gain(untrained, trained, **settings)
    return Transfer(label, measure, paired_t(trained, **settings), paired_t(untrained, **settings), ratio)


def _gains(study: Study, label: str, task: str, measure: str) -> dict[str, float]:
    """Seed -> checkpoint minus base, each at its own best sampling under the measure `best`."""
    column = "avg" if measure == BEST else measure
    sides: list[Rows] = [
        own_best(study, label, task, base=base)
        if measure == BEST
        else final_rows(study, label, task, base=base)
        for base in (False, True)
    ]
    after, before = sides
    return {
        seed: float(after[seed][column]) - float(before[seed][column])
        for seed in after
        if seed in before and has(after[seed], column) and has(before[seed], column)
    }
