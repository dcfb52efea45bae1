"""Does a gain reach families that training never sees? The ratio of gains, untrained to trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
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
CROSSED = "crossed"  # last word of a crossed row's label
Word = Literal["stays", "carries over", "undecided"]


@dataclass(frozen=True)
class Transfer:
    """Gains of one arm in one measure on trained and on untrained families, and their ratio by Fieller.

    `ratio` is None where the mean gain on trained families is not above 0. `of` names both arms of a row that
    is crossed: each trained the families that the other leaves out, so that a mean over the two compares the
    same families, and how hard they are cancels.
    """

    label: str
    measure: str
    trained: Interval
    untrained: Interval
    ratio: Interval | None
    of: tuple[str, ...] = ()

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
    """Every arm and measure, and crossed arms; over the seeds that have both gains.

    None without a split of such families.

    Trained families are those of the primary task or, where that is of untrained ones, of the test.
    """
    tasks = evaluated_tasks(study)
    other = next((task for task, split in tasks.items() if split == HELDOUT), None)
    own = next((task for task, split in tasks.items() if split == "test"), None)
    own = own if primary.task == other else primary.task
    if other is None or own is None:
        return []
    found = []
    for label, arms in _arms_and_crossed(study, own, other).items():
        for measure in MEASURES:
            gains = [[_gains(study, arm, task, measure) for arm in arms] for task in (own, other)]
            seen, unseen = (_mean_by_seed(sides) for sides in gains)
            if seeds := [seed for seed in seen if seed in unseen]:
                row = _transfer(study, primary, label, measure, [(seen[s], unseen[s]) for s in seeds])
                found.append(replace(row, of=arms) if len(arms) > 1 else row)
    return found


def _arms_and_crossed(study: Study, own: str, other: str) -> dict[str, tuple[str, ...]]:
    """Label -> arms: each by itself, then every two that trained what the other leaves out."""
    arms = study.record.arms
    found: dict[str, tuple[str, ...]] = {arm.label: (arm.label,) for arm in arms}
    sides = {arm.label: [_families(study, arm.label, task) for task in (own, other)] for arm in arms}
    for first, second in combinations(arms, 2):
        shared = [level for name, level in first.levels.items() if second.levels.get(name) == level]
        crossed = sides[first.label] == sides[second.label][::-1] and all(sides[first.label])
        if crossed and len(shared) == len(first.levels) - 1 and set.isdisjoint(*sides[first.label]):
            found[", ".join([*shared, CROSSED])] = (first.label, second.label)
    return found


def _families(study: Study, label: str, task: str) -> set[str]:
    rows = final_rows(study, label, task).values()
    return {str(name) for row in rows for name in row["families"] if name is not None}


def _mean_by_seed(gains: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over arms, of the seeds that all have."""
    shared = [seed for seed in gains[0] if all(seed in own for own in gains)]
    return {seed: sum(own[seed] for own in gains) / len(gains) for seed in shared}


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
