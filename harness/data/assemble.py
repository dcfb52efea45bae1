"""From a data config to a split's problems: read, filter, drop, order, cut, repeat, dose; with a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.data import function, hub, jsonl, perturb, stages
from harness.data.ngrams import scan
from harness.data.registry import GENERATORS, PUBLISHED
from harness.data.twins import add_twins
from harness.records.records import GENERATED
from harness.schema.data_config import DataConfig
from harness.types import Problem

HELD_OUT = ("test", "validation")  # what twins of training problems are scanned against


@dataclass
class Report:
    """What was left out or put in on the way, by id or by file and line; never a problem's text."""

    bad_rows: list[str] = field(default_factory=list)
    filtered: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    contaminated: list[dict[str, Any]] = field(default_factory=list)
    dose: list[str] = field(default_factory=list)
    twins: dict[str, Any] = field(default_factory=dict)
    size: dict[str, Any] = field(default_factory=dict)
    components: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the run's folder: counts first."""
        shown: dict[str, Any] = dict(self.size)
        for name in ("bad_rows", "duplicates", "contaminated", "dose"):
            shown[f"num_{name}"], shown[name] = len(getattr(self, name)), getattr(self, name)
        twins = {"twins": self.twins} if self.twins else {}
        return {**shown, "num_filtered": self.filtered, "components": self.components, **twins}


def assemble(data: DataConfig, split: str, *, where: str = "data.") -> tuple[list[Problem], Report]:
    """The problems of a split in order, none where the set has no such split. Raises ValueError.

    For training, in this order: rows that are bad or not of the levels and subjects are left out, then copies
    of an earlier problem and contaminated ones; then order, number, fewer different problems, dose. Other
    splits are filtered and cut alone (validation also loses copies and contaminated problems). GSM8K's
    `perturbed` and `validation_perturbed` are made by rule, as are further training problems with
    `perturb_draws`; a file's `perturbed` is its rows of that split. `where` names the config in messages.
    """
    report = Report()
    if data.dataset == "mixture":
        problems = _mixture(data, split, report)
    elif split == "validation_perturbed" or (split == "perturbed" and data.dataset in PUBLISHED):
        problems = _perturbed(data, split, where)
    else:
        own_twins = split == "perturbed" and data.is_own
        pool = _own_twins(data, report, where) if own_twins else _pool(data, split, report, where)
        problems = _taken(data, split, pool, report, where)
        if split == "train" and data.perturb_draws:
            problems, report.twins = _with_twins(data, problems)
    report.size = stages.size(problems)
    return problems, report


def _mixture(data: DataConfig, split: str, report: Report) -> list[Problem]:
    """The problems of a mixture; training takes `num_train` by weight, other splits take them all."""
    wanted = _wanted(data)
    parts = {
        name: part.model_copy(update={"num_train": wanted[name]}) for name, part in data.components.items()
    }
    places = {name: f"data.components.{name}." for name in parts}
    if split != "train":
        whole = {name: _component(part, split, report, places[name]) for name, part in parts.items()}
        return stages.interleaved(whole)[: None if "perturbed" in split else data.size(split)]
    pools = {n: _pool(part, split, report, places[n]) for n, part in parts.items() if wanted[n]}
    owners = _owners(_apart(data, [p for pool in pools.values() for p in pool], report))
    chosen = {}
    for name, pool in pools.items():
        mine = [p for p in pool if owners.get(p.id) == id(p)]
        chosen[name] = _taken(parts[name], split, mine, report, places[name])
        report.components[name] = stages.size(chosen[name])
    return _fixed_number(data, stages.interleaved(chosen), report, "data.")


def _wanted(data: DataConfig) -> dict[str, int]:
    """How many training problems each component of a mixture gives."""
    weights = {name: part.weight or 0.0 for name, part in data.components.items()}
    return stages.shares(data.num_train or 0, weights)


def _component(part: DataConfig, split: str, report: Report, where: str) -> list[Problem]:
    problems, below = assemble(part, split, where=where)
    report.bad_rows += below.bad_rows
    return problems


def _owners(problems: list[Problem]) -> dict[str, int]:
    """The problem (its Python id) of each name; it may be equal to another component's. Raises ValueError."""
    owners: dict[str, int] = {}
    for problem in problems:
        if owners.setdefault(problem.id, id(problem)) != id(problem):
            raise ValueError(
                f"data.components: two of them have a problem {problem.id}; leave one out, or set "
                "data.deduplicate=true if they are copies"
            )
    return owners


def _pool(data: DataConfig, split: str, report: Report, where: str) -> list[Problem]:
    """Every problem that the settings let through, in the source's order."""
    if data.dataset in GENERATED:
        with _field(where):
            problems = _generated(data, split)
    else:
        bad = report.bad_rows if data.bad_rows == "leave_out" else None
        problems = _read(data, split, bad)
        with _field(where):
            before = len(problems)
            levels = [] if data.families else data.levels
            problems = stages.filtered(problems, levels=levels, subjects=data.subjects, name=data.name)
            if data.num_families and split == "train":
                problems = stages.of_families(problems, data.num_families, data.data_seed)
            report.filtered += before - len(problems)
    return _apart(data, problems, report) if split in ("train", "validation") else problems


def _generated(data: DataConfig, split: str) -> list[Problem]:
    size = data.size(split)
    families = data.heldout_families if split == "heldout" else data.families
    if not size:
        return []
    if data.num_families and split in ("train", "perturbed"):
        families = stages.fewer_families(families, data.num_families, data.data_seed)
    try:
        return GENERATORS[data.dataset].load(
            split,
            num_problems=size,
            families=families,
            levels=data.levels,
            style=data.style,
            seed=data.data_seed,
        )
    except ValueError as error:  # its setting is the split's
        setting = "num_train" if split == "perturbed" else f"num_{split}"
        raise ValueError(str(error).replace("num_problems", setting)) from None


def _read(data: DataConfig, split: str, bad_rows: list[str] | None) -> list[Problem]:
    if data.dataset == "jsonl":
        assert data.path is not None
        return jsonl.load(
            Path(data.path),
            split=split,
            answer_range=data.answer_range,
            bad_rows=bad_rows,
            columns=data.columns,
            answer_pattern=data.answer_pattern,
        )
    if data.dataset in ("hub", "function"):
        return (hub if data.dataset == "hub" else function).load(data, split, bad_rows)
    return PUBLISHED[data.dataset].load(split, seed=data.data_seed, bad_rows=bad_rows)


def _apart(data: DataConfig, problems: list[Problem], report: Report) -> list[Problem]:
    """Drop copies of an earlier problem, and contaminated problems."""
    if data.deduplicate:
        problems, pairs = stages.without_duplicates(problems)
        report.duplicates += pairs
    if not data.drop_contaminated:
        return problems
    evaluation = [p for name in data.drop_contaminated for p in PUBLISHED[name].load("test")]
    hits = scan(problems, evaluation).over(data.drop_share)
    report.contaminated += [
        {"train_id": h.train_id, "eval_id": h.eval_id, "exact": h.exact, "share": round(h.share, 4)}
        for h in hits
    ]
    dropped = {h.train_id for h in hits}
    return [p for p in problems if p.id not in dropped]


def _taken(data: DataConfig, split: str, pool: list[Problem], report: Report, where: str) -> list[Problem]:
    if split == "train" and data.order == "seeded":
        pool = stages.seeded(pool, data.data_seed)
    size = data.size(split)
    if split == "train" and size is not None and size > len(pool) and not data.num_distinct:
        raise ValueError(
            f"{where}num_train={size}: {len(pool)} training problems are left after filters; lower it, widen "
            "them, or repeat some with num_distinct"
        )
    problems = pool if size is None else pool[:size]
    return _fixed_number(data, problems, report, where) if split == "train" else problems


def _fixed_number(data: DataConfig, problems: list[Problem], report: Report, where: str) -> list[Problem]:
    """Repeat fewer different problems and put in the dose of evaluation problems; the number stays."""
    with _field(where):
        if data.num_distinct:
            total = data.num_train or len(problems)
            problems = stages.repeated(
                problems, data.num_distinct, total, data.data_seed, by=data.distinct_by
            )
        if data.dose:
            evaluation = _evaluation(data, data.dose.dataset)
            problems, ids = stages.dosed(problems, evaluation, percent=data.dose.percent, seed=data.data_seed)
            report.dose += ids
    return problems


def _evaluation(data: DataConfig, name: str) -> list[Problem]:
    return assemble(data, "test")[0] if name == "own_test" else PUBLISHED[name].load("test")


def _perturbed(data: DataConfig, split: str, where: str) -> list[Problem]:
    """Twins with other numbers for the GSM8K problems that the rules can change; else none.

    `perturbed` are twins of training problems (not those trained on), `validation_perturbed` of validation.
    """
    if data.dataset != "gsm8k":
        return []
    originals = "train" if split == "perturbed" else "validation"
    alone = data.model_copy(update={"perturb_draws": 0})
    twins = perturb.perturbations(stages.without_copies(assemble(alone, originals, where=where)[0]))
    return [replace(twin, split=split) for twin in twins]


def _with_twins(data: DataConfig, problems: list[Problem]) -> tuple[list[Problem], dict[str, Any]]:
    """Further training problems with other numbers, far from every test and validation problem."""
    held_out = {split: PUBLISHED[data.dataset].load(split, seed=data.data_seed) for split in HELD_OUT}
    return add_twins(problems, data.perturb_draws, evaluation=held_out, share=data.drop_share)


def _own_twins(data: DataConfig, report: Report, where: str) -> list[Problem]:
    """Take a file's `perturbed`: twins of the training problems taken, and rows of no pair that pass."""
    rows = _read(data, "perturbed", report.bad_rows if data.bad_rows == "leave_out" else None)
    file = {p.id for p in _read(data, "train", [])}
    taken = {p.id for p in assemble(data, "train", where=where)[0]}
    levels = [] if data.families else data.levels
    alone = [p for p in rows if p.pair_id not in file]
    with _field(where):
        alone = stages.filtered(alone, levels=levels, subjects=data.subjects, name=data.name)
    kept = {p.id for p in alone}
    return [p for p in rows if p.pair_id in taken or p.id in kept]


@contextmanager
def _field(where: str) -> Iterator[None]:
    """Put the place of a setting in front of what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None
