"""Searches on bases and checkpoints: accuracy and tokens spent, by search, budget and seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.study.bases import base_names
from analysis.study.contrasts import Primary, evaluated_tasks, final_rows, has
from analysis.study.load import Study
from harness.records import records
from harness.records.lines import read_samples
from harness.records.search import SearchRecord, read_search, search_paths, trees_of

GREEDY = "greedy"
ORDER = "greedy best_of_n weighted_vote beam mcts"  # of the rows and the legend
VOTE = ("best_of_n", "rollout")  # a majority vote: plain sampling, which others are compared with
Seeds = dict[str, float]  # seed -> mean over problems


@dataclass
class SearchPoint:
    """One search at one budget, of an arm or a base (`who`), by seed. `accuracy` and `any_right` in [0, 1].

    `budget` is in tokens a problem, None for greedy decoding, which has none; `tokens` are what was spent.
    """

    who: str
    label: str
    fn: str
    value: str
    split: str
    budget: int | None
    uses_reference: bool
    accuracy: Seeds = field(default_factory=dict)
    any_right: Seeds = field(default_factory=dict)
    tokens: Seeds = field(default_factory=dict)
    outputs: Seeds = field(default_factory=dict)

    @property
    def is_vote(self) -> bool:
        """Whether it is a majority vote over independent outputs."""
        return (self.fn, self.value) == VOTE

    @property
    def mean_tokens(self) -> float:
        """Tokens spent a problem, over seeds."""
        return sum(self.tokens.values()) / len(self.tokens)


def search_points(study: Study, primary: Primary) -> list[SearchPoint]:
    """Every search at every budget, bases first, with greedy decoding of the same checkpoints beside them.

    Finished runs at the checkpoint that each is judged by, and their bases; none where nothing was searched.
    """
    found: dict[tuple[Any, ...], SearchPoint] = {}
    for who, seed, record in _judged(study, primary):
        for place, budget in enumerate(record.budgets):
            point = SearchPoint(
                who, record.label, record.fn, record.value, record.split, budget, record.uses_reference
            )
            key = (who, record.label, record.split, budget)
            _enter(found.setdefault(key, point), seed, record, place)
    points = [*found.values()]
    names = list(dict.fromkeys(point.who for point in points))
    order = sorted(names, key=lambda who: not who.startswith("base"))  # the others as they stand
    points += _greedy(study, primary, order, {point.split for point in points})
    points.sort(
        key=lambda p: (
            *(order.index(p.who), p.split, p.uses_reference),
            *(ORDER.find(p.fn), p.label, p.budget or 0),
        )
    )
    return points


def _enter(point: SearchPoint, seed: str, record: SearchRecord, place: int) -> None:
    point.accuracy[seed] = _mean(record.correct[place])
    point.any_right[seed] = _mean(record.any_right[place])
    point.tokens[seed] = _mean(record.tokens[place])
    point.outputs[seed] = _mean(record.outputs[place])


def _judged(study: Study, primary: Primary) -> Iterator[tuple[str, str, SearchRecord]]:
    """(arm or base, seed, record) of each finished run and its base, by the run's own protocols."""
    bases: dict[Path, list[SearchRecord]] = {}
    names = base_names(study, primary.task)
    judged = study.finished[study.finished["arm"].notna()] if len(study.runs) else study.runs
    for run in judged.to_dict("records"):
        arm, seed = str(run["arm"]), str(run["seed"])
        base = study.folder.parent / records.BASES / str(run.get("base_id"))
        own = [r for r in _read(study.folder / str(run["run_id"]), study) if r.step == run["checkpoint"]]
        if own and base not in bases:
            bases[base] = _read(base, study)
        for record in own:
            before = [b for b in bases[base] if (b.key, b.task) == (record.key, record.task)]
            yield from ((names[arm], seed, found) for found in before)
        yield from ((arm, seed, record) for record in own)


def _read(folder: Path, study: Study) -> list[SearchRecord]:
    found = []
    for path in search_paths(folder):
        try:
            found.append(read_search(path))
        except records.RecordError as error:
            study.damaged.append(str(error))
    return found


def _greedy(study: Study, primary: Primary, names: list[str], splits: set[str]) -> list[SearchPoint]:
    """Greedy decoding on the split of the primary task, for each arm and base that was searched."""
    split, found = evaluated_tasks(study)[primary.task], dict[str, SearchPoint]()
    bases = base_names(study, primary.task)
    for arm in (arm.label for arm in study.record.arms):
        for who, is_base in ((bases[arm], True), (arm, False)):
            if who not in names or split not in splits:
                continue
            point = found.setdefault(who, SearchPoint(who, GREEDY, GREEDY, "", split, None, False))
            for seed, row in final_rows(study, arm, primary.task, base=is_base).items():
                if has(row, "greedy") and has(row, "greedy_length"):
                    point.accuracy[seed] = point.any_right[seed] = float(row["greedy"])
                    point.tokens[seed], point.outputs[seed] = float(row["greedy_length"]), 1.0
    return [point for point in found.values() if point.accuracy]


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)


def first_tree(study: Study) -> tuple[SearchRecord, dict[str, Any]] | None:
    """The first tree that was kept, of the first search that kept any; None without one."""
    judged = study.finished if len(study.runs) else study.runs
    for run in judged.to_dict("records"):
        for path in search_paths(study.folder / str(run["run_id"])):
            try:
                if trees_of(path).exists():
                    first = next(iter(read_samples(trees_of(path))), None)
                    if first is not None and len(first["nodes"]) > 1:
                        return read_search(path), first
            except (records.RecordError, OSError, ValueError) as error:
                study.damaged.append(str(error))
    return None
