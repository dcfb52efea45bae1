"""The part of `--plan` about time: bases, makespan, and what a busy machine adds. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from harness.identity import base_id, base_made, bases_of, eval_key
from harness.launch.costs import START_SECONDS, estimate, makespan, on_gpu
from harness.launch.crowding import busy_lines, others_at_work, stretch
from harness.launch.expand import Sweep
from harness.launch.status import unevaluated
from harness.records.progress import duration
from harness.records.records import RunRecord
from harness.schema.run_config import RunConfig


def stretched(sweep: Sweep, todo: dict[str, str], workers: int) -> float:
    """How much longer runs take here than on a quiet machine; GPUs are not shared with other programs."""
    left = [job.config for job in sweep.runs if todo[job.run_id] != "skip"]
    if not left or any(on_gpu(config) for config in left):
        return 1.0
    return stretch(others_at_work(), min(workers, len(left)), max(config.threads for config in left))


def time_lines(
    sweep: Sweep, todo: dict[str, str], records: Sequence[RunRecord], workers: int, busy: float
) -> list[str]:
    """Bases to make, when all is done, and what of that is no run's. `busy`: of `stretched`."""
    left = [job.config for job in sweep.runs if todo[job.run_id] != "skip"]
    bases = {base_id(c): c for run in left for c in bases_of(run) if not base_made(c)}
    spent = {name: estimate(c, records).base_seconds for name, c in bases.items()}
    names = ", ".join(sorted(bases)) or "none"
    one = []  # no run is shared out over workers; it waits for its own bases, and a stage for those before
    for job in sweep.jobs:
        chain = [stage.config for stage in job.stages if todo[stage.run_id] != "skip"]
        needed = {base_id(base) for c in chain for base in bases_of(c)}
        one.append(
            sum(estimate(c, records).seconds for c in chain) + sum(spent.get(name, 0.0) for name in needed)
        )
    parts, evaluations = [estimate(c, records).seconds for c in left], _base_evaluations(left, records)
    parts += [*spent.values(), *evaluations]
    used = min(workers, max(1, len(left)))
    seconds = busy * (max([makespan(parts, used), *one]) + (START_SECONDS if left else 0.0))
    tasks = list(dict.fromkeys(asked.task for c in left for asked in c.eval.lm_eval))
    more = [f"Not counted: the time of lm-eval on {', '.join(tasks)}"] if tasks else []
    made = busy * sum(spent.values())
    once = [f"{duration(made)} to make bases"] if made >= 1 else []
    if evaluations:
        once.append(
            f"{duration(busy * sum(evaluations))} for {count(len(evaluations), 'evaluation')} of bases"
        )
    beside = [f"  with what runs share: {', '.join(once)}"] if once else []
    return [
        f"Bases to make: {names}",
        f"Expected: {duration(seconds)} on {count(used, 'worker')}",
        *beside,
        *busy_lines(busy),
        *more,
    ]


def _base_evaluations(left: Sequence[RunConfig], records: Sequence[RunRecord]) -> list[float]:
    """Seconds of each evaluation of a base that is still to be made: one a base and protocol."""
    missing = {(base_id(c), eval_key(c)): c for c in left}
    return [estimate(c, records).base_evaluation for c in missing.values() if unevaluated(c, 0) is not None]


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")
