"""Anatomy of a gain: what is left of it at each model's own best sampling, in greedy, votes and pass@k.

Also which problems became solvable, and what became of derivations and lengths. The base is an arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from analysis.stats.coverage import half_coverage
from analysis.stats.crossing import Crossing, crossing, pass_at_every_k
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.ratio import share_of_gain
from analysis.stats.strata import standardised_shares
from analysis.study.bases import over_seeds, untrained_bases
from analysis.study.by_problem import ByProblem
from analysis.study.contrasts import Primary, Rows, final_rows, paired, shared_seeds, what_varies
from analysis.study.load import Sampling, Study

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

BEST = "best"  # avg@k at the own best sampling, beside the columns of `evaluations`
MEASURES = ("avg", BEST, "greedy", "maj", "pass")
NO_TRAINING = "no training"
ASK = "not measured: set eval.temperatures"
Pair = tuple["pd.Series[Any]", "pd.Series[Any]"]  # evaluations of the base and of the arm, one seed


@dataclass(frozen=True)
class Change:
    """A quantity in the base and in the arm, means over seeds, and the paired change."""

    before: float
    after: float
    interval: Interval


@dataclass(frozen=True)
class ArmAnatomy:
    """One arm, or one untrained base (`is_base`), on the primary task. Accuracies in [0, 1].

    `values` and `gains` (minus the base's) are by MEASURES; `rise` is own best minus main sampling of the
    same model, `chosen` the own best (temperature, top_p) of each seed, `sharpening` the share of the gain at
    the main sampling that is gone at own best. `covered` and `lost` are shares of problems less `chance`.
    `changes` has `valid` and `sourced` (shares of right derived answers) and `tokens`.
    """

    label: str
    is_base: bool
    values: dict[str, Interval | None]
    gains: dict[str, Interval | None] = field(default_factory=dict)
    rise: Interval | None = None
    chosen: tuple[Sampling, ...] = ()
    sharpening: Interval | None = None
    crossing: Crossing | None = None
    covered: Interval | None = None
    lost: Interval | None = None
    chance: float | None = None
    changes: dict[str, Change] = field(default_factory=dict)


def anatomy(study: Study, primary: Primary) -> list[ArmAnatomy]:
    """Every untrained base, then every arm with a finished run, in the study's order."""
    found = []
    bases = untrained_bases(study, primary.task)
    for base in bases:
        name = base.label.partition(", ")[2]
        best = {s: r for arm in base.arms for s, r in own_best(study, arm, primary.task, base=True).items()}
        label = f"{NO_TRAINING}, {name}" if name else NO_TRAINING
        found.append(_measured(study, primary, label, base.rows, best, is_base=True))
    arms = [arm.label for arm in study.record.arms if final_rows(study, arm.label, primary.task)]
    return [*found, *(_arm(study, primary, label) for label in arms)]


def validation_task(study: Study) -> str | None:
    """The task by which the own best sampling is chosen: the data's validation split, if it was evaluated."""
    return next(
        (str(task) for _, task, _, _ in study.sampled_rows if _split(study, task) == "validation"), None
    )


def own_best(study: Study, label: str, task: str, *, base: bool) -> dict[str, pd.Series[Any]]:
    """Seed -> evaluation of a task at the (temperature, top_p) with the best avg@k on validation.

    Chosen inside each seed, so that an interval over seeds contains the choice; of equal ones that nearest to
    the main sampling. Seeds with one sampling alone are left out, and so is a task that is itself validation.
    """
    chooses, index = validation_task(study), study.sampled_rows
    if chooses is None or chooses == task:
        return {}
    samplings = {key[3] for key in index if key[:3] == (label, task, base)}
    found = {}
    for seed, row in final_rows(study, label, task, base=base).items():
        scores = {
            s: float(by_seed[seed]["avg"])
            for s in samplings
            if seed in index[label, task, base, s]
            and seed in (by_seed := index.get((label, chooses, base, s), {}))
        }
        if len(scores) > 1:
            chosen = best_sampling(scores, main=(row["temperature"], row["top_p"]))
            found[seed] = index[label, task, base, chosen][seed]
    return found


def best_sampling(scores: Mapping[Sampling, float], *, main: Sampling) -> Sampling:
    """Best-scored (temperature, top_p); of equal ones that nearest to the main one, then the cooler one."""

    def key(sampling: Sampling) -> tuple[float, ...]:
        temperature, top_p = sampling
        distance = abs(temperature - main[0]), abs(top_p - main[1])
        return round(scores[sampling], 12), -round(distance[0], 9), -round(distance[1], 9), -temperature

    return max(scores, key=key)


def _split(study: Study, task: str) -> str | None:
    frame = study.evaluations
    found = frame.loc[frame["task"] == task, "split"]
    return None if found.empty else str(found.iloc[0])


def _measured(
    study: Study, primary: Primary, label: str, rows: Rows, best: Rows, *, is_base: bool
) -> ArmAnatomy:
    """Values of one model's rows, at the main sampling and at its own best."""
    values = {m: over_seeds(study, rows, m, primary.level) for m in MEASURES if m != BEST}
    values[BEST] = over_seeds(study, best, "avg", primary.level)
    rise = paired(best, rows, "avg", level=primary.level, varies=what_varies(study))
    return ArmAnatomy(
        label,
        is_base,
        values,
        rise=rise,
        chosen=tuple((float(r["temperature"]), float(r["top_p"])) for r in best.values()),
    )


def _arm(study: Study, primary: Primary, label: str) -> ArmAnatomy:
    rows, base = (final_rows(study, label, primary.task, base=b) for b in (False, True))
    best, base_best = (own_best(study, label, primary.task, base=b) for b in (False, True))
    own = _measured(study, primary, label, rows, best, is_base=False)
    settings: Any = {"level": primary.level, "varies": what_varies(study)}
    gains = {m: paired(rows, base, m, **settings) for m in MEASURES if m != BEST}
    gains[BEST] = paired(best, base_best, "avg", **settings)
    pairs = [(base[s], rows[s]) for s in shared_seeds([(rows, base)], "avg") if base[s]["k"] == rows[s]["k"]]
    covered, lost, chance = _coverage(pairs, settings)
    return ArmAnatomy(
        **{
            **vars(own),
            "gains": gains,
            "sharpening": _sharpening((rows, base), (best, base_best), settings),
            "crossing": _crossing(pairs, primary.level),
            "covered": covered,
            "lost": lost,
            "chance": chance,
            "changes": _changes(pairs, settings),
        }
    )


def _sharpening(main: tuple[Rows, Rows], best: tuple[Rows, Rows], settings: Any) -> Interval | None:
    """(gain at the main sampling − gain at own best) / gain at the main sampling, paired by seed."""
    seeds = shared_seeds([main, best], "avg")
    if not seeds:
        return None
    gain, left = ([arm[s]["avg"] - base[s]["avg"] for s in seeds] for arm, base in (main, best))
    return share_of_gain(np.subtract(gain, left), gain, **settings)


def _crossing(pairs: Sequence[Pair], level: float) -> Crossing | None:
    """k from which on the base's pass@k is at least the arm's; None without a seed, or for one sample."""
    n = int(pairs[0][0]["k"]) if pairs else 0
    same = [pair for pair in pairs if pair[0]["k"] == n]
    if n < 2:
        return None
    base, arm = ([pass_at_every_k(p[i]["by_problem"].right.sum(axis=1), n) for p in same] for i in (0, 1))
    return crossing(base, arm, level=level)


def _coverage(pairs: Sequence[Pair], settings: Any) -> tuple[Interval | None, Interval | None, float | None]:
    """Problems newly solved and problems lost, each less chance, and chance: the base sampled twice."""
    covered, lost, chances = [], [], []
    for row, other in pairs:
        base, arm = row["by_problem"].right, other["by_problem"].right
        chance = half_coverage(base, base)
        if chance is not None:
            covered.append((half_coverage(base, arm) or 0.0) - chance)
            lost.append((half_coverage(arm, base) or 0.0) - chance)
            chances.append(chance)
    if not chances:
        return None, None, None
    return paired_t(covered, **settings), paired_t(lost, **settings), float(np.mean(chances))


def _changes(pairs: Sequence[Pair], settings: Any) -> dict[str, Change]:
    """Changes in right answers: valid and sourced derivations within topic and level, and tokens."""
    asked = {"valid": _valid, "sourced": _sourced, "tokens": _tokens}
    found = {}
    for name, of_pair in asked.items():
        values = [v for base, arm in pairs if (v := of_pair(base["by_problem"], arm["by_problem"]))]
        if values:
            before, after = np.array(values).T
            change = paired_t(after - before, **settings)
            found[name] = Change(float(before.mean()), float(after.mean()), change)
    return found


def _valid(base: ByProblem, arm: ByProblem) -> tuple[float, float] | None:
    return standardised_shares(base.by_cell(base.sound), arm.by_cell(arm.sound))


def _sourced(base: ByProblem, arm: ByProblem) -> tuple[float, float] | None:
    if base.sourced is None or arm.sourced is None:
        return None
    return standardised_shares(base.by_cell(base.sourced), arm.by_cell(arm.sourced))


def _tokens(base: ByProblem, arm: ByProblem) -> tuple[float, float] | None:
    """Mean length of right answers over the problems that both have solved at least once."""
    both = np.isfinite(base.tokens) & np.isfinite(arm.tokens)
    return (float(base.tokens[both].mean()), float(arm.tokens[both].mean())) if both.any() else None
