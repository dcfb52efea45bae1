"""Numbers of a run's checkpoint beside its base's, with intervals over problems. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from analysis.stats.intervals import PROBLEMS, Interval, paired_t, problems_t, wilson
from analysis.stats.metrics import avg_at_k, pass_at_k, vote_values
from harness.records.records import BASES, EvalRecord, RunRecord, eval_paths, read_eval

Values = tuple[float, ...]  # a measure of each problem, in [0, 1]


@dataclass(frozen=True)
class Measured:
    """One task: the checkpoint's evaluation, and the base's under the same protocol, None without one."""

    after: EvalRecord
    before: EvalRecord | None

    @property
    def label(self) -> str:
        """The split of the run's own data, or the benchmark's name."""
        return self.after.split

    @cached_property
    def measures(self) -> list[Compared]:
        """avg@k, greedy, pass@k and maj@k, where they were measured."""
        before = {} if self.before is None else per_problem(self.before)
        same = self.before is not None and self.before.problem_ids == self.after.problem_ids
        return [
            Compared(name, values, before.get(name), paired=same)
            for name, values in per_problem(self.after).items()
        ]


@dataclass(frozen=True)
class Compared:
    """One measure of a checkpoint and of its base, problem by problem."""

    name: str
    after: Values
    before: Values | None
    paired: bool

    @property
    def difference(self) -> Interval | None:
        """Checkpoint minus base, paired by problem; None without a base on the same problems."""
        return problems_t(self.after, self.before) if self.paired and self.before is not None else None


def measured(folder: Path, record: RunRecord, step: int) -> list[Measured]:
    """A checkpoint's evaluations by the main protocols of the run's last launch, in the order of its tasks.

    Raises RecordError for one that is damaged, the base's included.
    """
    found = list(_evaluations(folder, record, step))
    order = {task: place for place, task in enumerate(record.eval_keys)}
    found.sort(key=lambda each: order.get(each.task, len(order)))
    return [Measured(each, _of_base(folder, record, each)) for each in found]


def _evaluations(folder: Path, record: RunRecord, step: int) -> Iterator[EvalRecord]:
    for path in eval_paths(folder):
        if not path.parent.name.startswith(f"step_{step:06d}-"):
            continue
        evaluation = read_eval(path)
        main = evaluation.key == record.eval_keys.get(evaluation.task, evaluation.key)
        if main and evaluation.key not in record.sampling_keys.values():
            yield evaluation


def _of_base(folder: Path, record: RunRecord, evaluation: EvalRecord) -> EvalRecord | None:
    if record.base_id is None:
        return None
    base = folder.parent.parent / BASES / record.base_id
    path = base / "eval" / f"base-{evaluation.key}" / f"{evaluation.task}.json"
    return read_eval(path) if path.exists() else None


def per_problem(record: EvalRecord) -> dict[str, Values]:
    """Every measure of an evaluation by name, a number a problem."""
    correct = [[bool(right) for right in row] for row in record.correct]
    found = {f"avg@{record.k}": avg_at_k(correct).per_problem}
    if record.greedy_correct is not None:
        found["greedy"] = tuple(map(float, record.greedy_correct))
    if record.k > 1:
        found[f"pass@{record.k}"] = pass_at_k(correct, record.k).per_problem
        found[f"maj@{record.k}"] = vote_values(correct, record.answers, record.k)
    return found


def over_problems(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean of a measure and its 95 % interval over problems, within [0, 1].

    Student's t over problems; where all are right or all wrong, Wilson's interval of their share.
    """
    interval = paired_t(values, varies=PROBLEMS)
    if interval.low is not None and interval.high is not None:
        return interval.estimate, max(0.0, interval.low), min(1.0, interval.high)
    if set(values) in ({0.0}, {1.0}):
        return interval.estimate, *wilson(interval.estimate, len(values))
    return interval.estimate, None, None
