"""The part of `--plan` that simulates: how long a study takes on how many workers of a real cluster.

Run times are those that the plan expects, each times a ratio of measured to expected that finished runs in
the same output_dir have had: so the spread of run times is theirs. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from harness.identity import base_id, base_made, bases_of, eval_key
from harness.launch.costs import START_SECONDS, estimate, finished_records
from harness.launch.expand import Sweep
from harness.launch.launchers import settings_of, workers_of
from harness.launch.simulate import Assumed, Outcome, Task, mean_of, quantile, simulate
from harness.launch.status import unevaluated
from harness.launch.workload import seconds_of, workload
from harness.records.progress import duration
from harness.records.records import RunRecord
from harness.schema.run_config import ConfigError, RunConfig

REPEATS = 200
_FROM_ONE = ("workers", "slow_factor")
_COUNTS = ("workers", "retries")
_KEYS = [field.name for field in fields(Assumed)]


def assumed_of(given: Sequence[str], sweep: Sweep) -> Assumed:
    """The cluster of `--assume KEY=VALUE`, over what the launcher says. Raises ConfigError."""
    settings = settings_of(sweep)
    values: dict[str, Any] = {"workers": workers_of(sweep), "restart": START_SECONDS}
    if (retries := getattr(settings, "retries", None)) is not None:
        values["retries"] = retries
    for text in given:
        key, _, value = text.partition("=")
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            raise ConfigError(f"--assume {text}: choose one of {known}, as in --assume workers=16")
        try:
            values[key] = int(value) if key in _COUNTS else float(value)
        except ValueError:
            kind = "whole number" if key in _COUNTS else "number"
            raise ConfigError(f"--assume {text}: {key} is a {kind}, as in --assume {key}=2") from None
    found = Assumed(**values)
    for name in _KEYS:
        least, most = float(name in _FROM_ONE), 1.0 if name == "slow_share" else math.inf
        if not least <= getattr(found, name) <= most:
            limit = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
            raise ConfigError(f"--assume {name}={getattr(found, name):g}: it is {limit}")
    return found


def tasks_of(sweep: Sweep, todo: Mapping[str, str], records: Sequence[RunRecord]) -> list[Task]:
    """The bases that are missing and the runs that are to do, with what each waits for."""
    left = [job for job in sweep.runs if todo[job.run_id] != "skip"]
    bases = {base_id(c): c for job in left for c in bases_of(job.config) if not base_made(c)}
    tasks = [Task(name, estimate(c, records).base_seconds, first=True) for name, c in bases.items()]
    evaluated: set[tuple[str, str]] = set()
    for job in left:
        guess, base = estimate(job.config, records), (base_id(job.config), eval_key(job.config))
        seconds = guess.seconds
        if base not in evaluated and unevaluated(job.config, 0) is not None:
            seconds += guess.base_evaluation  # the first run of a seed evaluates its base
            evaluated.add(base)
        needs = (*(base_id(c) for c in bases_of(job.config)), *job.config.waits_for)
        tasks.append(Task(job.run_id, seconds, _interval(job.config, seconds), needs))
    return tasks


def _interval(config: RunConfig, seconds: float) -> float:
    """Seconds of work between two checkpoints."""
    return seconds * min(1.0, config.trainer.checkpoint_every / config.trainer.steps)


def measured_ratios(records: Sequence[RunRecord], shapes: set[str]) -> list[float]:
    """Seconds of each finished run of these shapes over what the others of its kind let one expect."""
    done = [(r, workload(r.config, on_gpu=r.hardware.get("device") == "cuda")) for r in records]
    done = [(record, units) for record, units in done if units.shape in shapes]
    found = []
    for record, units in done:
        others = [
            (r, u) for r, u in done if r is not record and (u.shape, u.kind) == (units.shape, units.kind)
        ]
        if others:
            expected = sum(seconds_of(r, u, units) for r, u in others) / len(others)
            found.append(seconds_of(record, units, units) / expected)
    return found


def sizing_lines(sweep: Sweep, todo: Mapping[str, str], given: Sequence[str]) -> list[str]:
    """The lines of a plan about makespan with its spread, what faults cost, and other numbers of workers."""
    records, assumed = finished_records(sweep.jobs[0].config.output_dir), assumed_of(given, sweep)
    tasks = tasks_of(sweep, todo, records)
    if not tasks:
        return ["Simulated: nothing is to do"]
    shapes = {workload(job.config.model_dump(), on_gpu=False).shape for job in sweep.runs}
    shapes |= {workload(job.config.model_dump(), on_gpu=True).shape for job in sweep.runs}
    ratios = measured_ratios(records, shapes)
    spread = (
        f"{len(ratios)} finished runs, {min(ratios):.2f} to {max(ratios):.2f} of what was expected"
        if ratios
        else "as expected, no finished run gives a spread"
    )
    text = ", ".join(f"{name}={getattr(assumed, name):g}" for name in _KEYS)
    outcomes = simulate(tasks, assumed, seed=0, repeats=REPEATS, ratios=ratios or [1.0])
    lines = [
        f"Simulated {REPEATS} times ({text}; run times: {spread}):",
        f"  {_said(outcomes, len(tasks))}",
    ]
    for workers in _others(assumed.workers, len(tasks)):
        other = Assumed(**{**vars(assumed), "workers": workers})
        found = simulate(tasks, other, seed=0, repeats=REPEATS, ratios=ratios or [1.0])
        lines.append(f"  workers={workers}: {_span(found)}")
    return lines


def _others(workers: int, most: int) -> list[int]:
    """Half and twice as many workers, and as many as there are tasks."""
    found = {max(1, workers // 2), 2 * workers, most} - {workers}
    return sorted(number for number in found if number <= most)


def _span(outcomes: Sequence[Outcome]) -> str:
    ends = [outcome.makespan for outcome in outcomes]
    middle, low, high = (duration(quantile(ends, share)) for share in (0.5, 0.05, 0.95))
    return f"{middle} (9 of 10: {low} to {high})"


def _said(outcomes: Sequence[Outcome], number: int) -> str:
    busy, lost = mean_of(outcomes, "busy"), mean_of(outcomes, "lost")
    failed = sum(len(outcome.failed) for outcome in outcomes) / len(outcomes)
    share = 100 * lost / busy if busy else 0.0
    return (
        f"done in {_span(outcomes)}; {duration(busy)} of work, {share:.1f} % of it lost to failures; "
        f"{mean_of(outcomes, 'restarts'):.1f} restarts; {failed:.2g} of {number} not finished"
    )
