"""Self-evolution, measured: valid chains, problems and solutions beyond the base, the share of a ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.stats.crossing import Crossing, crossing, pass_at_every_k
from analysis.stats.discovery import Novelty, beyond_base, beyond_by_chance, novelty
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.ratio import share_of_gain
from analysis.study.anatomy import own_best
from analysis.study.contrasts import Primary, declared, evaluated_tasks, final_rows, has, what_varies
from analysis.study.load import Study
from analysis.study.pairs import Rows, paired, shared_seeds

if TYPE_CHECKING:
    import pandas as pd

CHAIN = "chain"  # column of evaluations: share of samples right by a valid chain
MOST_K = 256  # of the base's pass@k that a trained model's pass@1 is held against


@dataclass(frozen=True)
class Discovery:
    """One arm on one task, against its base. Shares in [0, 1].

    `value` and `base` are shares of valid chains, `gain` their difference, `over_best` that to the base at
    its own best sampling. `beyond` are problems whose trained pass@1 exceeds the base's pass@`k`, by valid
    chains and, in `beyond_right`, by right answers; `chance` and `chance_right` what the base has over
    itself. `base_pass` is the base's pass@`k` by valid chains (`base_passes`: of each seed; by family the
    mean over seeds) and `crossing` by these, too. `new`, `unseen`
    and `rarer` are shares of the valid chains of a seed. `of_ceiling` is the gain as a share of the
    ceiling's.
    """

    task: str
    label: str
    value: Interval | None
    base: float | None
    gain: Interval | None
    over_best: Interval | None
    k: int
    beyond: Interval | None = None
    beyond_right: Interval | None = None
    chance: float | None = None
    chance_right: float | None = None
    base_pass: Interval | None = None
    base_passes: tuple[float, ...] = ()
    base_pass_by_family: Mapping[str, float] = field(default_factory=dict)
    crossing: Crossing | None = None
    new: Interval | None = None
    unseen: Interval | None = None
    rarer: Interval | None = None
    logprob: Interval | None = None
    of_ceiling: Interval | None = None
    samples: int = 0
    novelties: tuple[Novelty, ...] = field(default=())


def discoveries(study: Study, primary: Primary) -> list[Discovery]:
    """Every arm with a finished run, on every task whose problems have parts; the primary task first."""
    tasks = sorted(evaluated_tasks(study), key=lambda task: task != primary.task)
    return [
        _of_arm(study, primary, arm.label, task)
        for task in tasks
        for arm in study.record.arms
        if any(has(row, CHAIN) for row in final_rows(study, arm.label, task).values())
    ]


def _of_arm(study: Study, primary: Primary, label: str, task: str) -> Discovery:
    rows, base = (final_rows(study, label, task, base=b) for b in (False, True))
    settings: Any = {"level": primary.level, "varies": what_varies(study)}
    values = [float(r[CHAIN]) for r in rows.values() if has(r, CHAIN)]
    seeds = shared_seeds([(rows, base)], CHAIN)
    found = Discovery(
        task=task,
        label=label,
        value=paired_t(values, **settings) if values else None,
        base=float(np.mean([base[s][CHAIN] for s in seeds])) if seeds else None,
        gain=paired(rows, base, CHAIN, **settings),
        over_best=paired(rows, own_best(study, label, task, base=True), CHAIN, **settings),
        k=min(MOST_K, *(int(base[s]["k"]) for s in seeds)) if seeds else 0,
        samples=min((int(base[s]["k"]) for s in seeds), default=0),
        of_ceiling=_of_ceiling(study, label, task, settings),
    )
    if not seeds:
        return found
    pairs = [(base[s], rows[s]) for s in seeds]
    return replace(found, **_beyond(pairs, found.k, settings), **_novelty(pairs, settings))


def _counts(row: pd.Series[Any], *, chains: bool) -> Any:
    sums = row["by_problem"]
    return (sums.chains if chains else sums.right).sum(axis=1)


def _beyond(pairs: Sequence[tuple[Any, Any]], k: int, settings: Any) -> dict[str, Any]:
    """Problems beyond the base, by valid chains and by right answers, with chance; and the crossing."""
    found: dict[str, Any] = {}
    for end, chains in (("", True), ("_right", False)):
        hits = [(_counts(base, chains=chains), _counts(arm, chains=chains)) for base, arm in pairs]
        sizes = [(int(base["k"]), int(arm["k"])) for base, arm in pairs]
        shares = [
            beyond_base(arm, base, arm_samples=n_arm, base_samples=n_base, k=k)
            for (base, arm), (n_base, n_arm) in zip(hits, sizes, strict=True)
        ]
        found[f"beyond{end}"] = paired_t(shares, **settings)
        if chains:
            passes = [pass_at_every_k(base, n)[k - 1] for (base, _), (n, _) in zip(hits, sizes, strict=True)]
            found |= {"base_pass": paired_t(passes, **settings), "base_passes": tuple(map(float, passes))}
            found["base_pass_by_family"] = _by_family([base for base, _ in pairs], k)
        if min(n for n, _ in sizes) > 1:
            by_chance = [
                beyond_by_chance(base, samples=n) for (base, _), (n, _) in zip(hits, sizes, strict=True)
            ]
            found[f"chance{end}"] = float(np.mean(by_chance))
        if chains and len(set(sizes)) == 1 and sizes[0][0] == sizes[0][1] > 1:
            curves = [[pass_at_every_k(pair[i], sizes[0][0]) for pair in hits] for i in (0, 1)]
            found["crossing"] = crossing(curves[0], curves[1], level=settings["level"])
    return found


def _by_family(bases: Sequence[Any], k: int) -> dict[str, float]:
    """Mean over bases of pass@k by valid chains on each family; empty where families are unknown."""
    found: dict[str, list[float]] = {}
    for base in bases:
        families, counts = np.array(base["families"], dtype=object), _counts(base, chains=True)
        for family in sorted({name for name in families if name is not None}):
            own = pass_at_every_k(counts[families == family], int(base["k"]))
            found.setdefault(family, []).append(float(own[k - 1]))
    return {family: float(np.mean(values)) for family, values in sorted(found.items())}


def _novelty(pairs: Sequence[tuple[Any, Any]], settings: Any) -> dict[str, Any]:
    """Shares of valid chains whose template is new, over seeds that have some."""
    found = []
    for base, arm in pairs:
        sums, before = arm["by_problem"], base["by_problem"]
        found.append(novelty(sums.chains, sums.templates, before.templates, sums.base_logprobs))
    some = [one for one in found if one.valid]
    if not some:
        return {"novelties": tuple(found)}
    result: dict[str, Any] = {
        name: paired_t([getattr(one, name) / one.valid for one in some], **settings)
        for name in ("new", "unseen")
    }
    if all(one.rarer is not None for one in some):
        result["rarer"] = paired_t([(one.rarer or 0) / one.valid for one in some], **settings)
    if values := [one.logprob for one in some if one.logprob is not None]:
        result["logprob"] = paired_t(values, **settings)
    return result | {"novelties": tuple(found)}


def _of_ceiling(study: Study, label: str, task: str, settings: Any) -> Interval | None:
    """Gain of an arm / gain of the ceiling at the same levels of the other factors, over shared seeds."""
    ceiling = _ceiling(study, label)
    if ceiling is None or ceiling == label:
        return None
    cells: list[tuple[Rows, Rows]] = [
        (final_rows(study, name, task), final_rows(study, name, task, base=True)) for name in (label, ceiling)
    ]
    seeds = shared_seeds(cells, CHAIN)
    if not seeds:
        return None
    ours, most = ([arm[s][CHAIN] - base[s][CHAIN] for s in seeds] for arm, base in cells)
    return share_of_gain(ours, most, **settings)


def _ceiling(study: Study, label: str) -> str | None:
    """The arm at the declared ceiling level that shares the other levels with an arm."""
    level, factor = declared(study).get("ceiling"), study.record.primary.get("factor")
    if level is None or factor is None:
        return None
    mine = next(arm.levels for arm in study.record.arms if arm.label == label)
    wanted = {**mine, factor: level}
    return next((arm.label for arm in study.record.arms if arm.levels == wanted), None)
