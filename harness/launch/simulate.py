"""Simulate a study on a cluster: a queue, failures, preemption, slow nodes. Discrete events, by simpy.

A run waits for what it needs, then in the queue, then for a free worker, the longest first. A failure costs
the work since its last checkpoint and one of its tries; a preemption costs nothing but the queue again, since
a run saves at the signal. What is not finished after its tries takes with it what waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import simpy

HOUR = 3600.0


@dataclass(frozen=True)
class Assumed:
    """A cluster, as a plan assumes it."""

    workers: int = 1
    """Runs at once."""
    queue: float = 0.0
    """Mean seconds that a job waits before it may start, exponential; again after each restart."""
    failures: float = 0.0
    """Failures an hour of each run under way: a killed process, a lost node."""
    preemptions: float = 0.0
    """Preemptions an hour of each run under way."""
    slow_share: float = 0.0
    """Share of starts that land on a slow node."""
    slow_factor: float = 2.0
    """How many times longer a run takes there."""
    retries: int = 2
    """How often a run starts again after a failure."""
    restart: float = 8.0
    """Seconds from a start to the first step: programs, base, data."""


@dataclass(frozen=True)
class Task:
    """A base or a run: seconds of work without its start, and between two of its checkpoints (0: none)."""

    name: str
    seconds: float
    interval: float = 0.0
    needs: tuple[str, ...] = ()
    first: bool = False
    """A base, which starts before any run that is as ready."""


@dataclass
class Outcome:
    """What became of a study in one simulation, seconds."""

    makespan: float = 0.0
    busy: float = 0.0
    lost: float = 0.0
    restarts: int = 0
    failed: list[str] = field(default_factory=list)


def simulate(
    tasks: Sequence[Task],
    assumed: Assumed,
    *,
    seed: int,
    repeats: int = 200,
    ratios: Sequence[float] = (1.0,),
) -> list[Outcome]:
    """Simulate the study `repeats` times; a task takes its seconds times one of `ratios`, drawn anew."""
    return [_once(tasks, assumed, Random(f"{seed} {number}"), ratios) for number in range(repeats)]


def _once(tasks: Sequence[Task], assumed: Assumed, random: Random, ratios: Sequence[float]) -> Outcome:
    import simpy

    clock = simpy.Environment()
    workers, outcome = simpy.PriorityResource(clock, capacity=assumed.workers), Outcome()
    ended = {task.name: clock.event() for task in tasks}
    for task in sorted(tasks, key=_order):  # of those that are ready at once the first begins
        work = task.seconds * random.choice(ratios)
        clock.process(_life(clock, task, work, workers, ended, assumed, random, outcome))
    clock.run()
    return outcome


def _life(
    clock: simpy.Environment,
    task: Task,
    work: float,
    workers: simpy.PriorityResource,
    ended: dict[str, simpy.Event],
    assumed: Assumed,
    random: Random,
    outcome: Outcome,
) -> Generator[Any, Any, None]:
    """One task from the moment that what it needs is done; `ended` tells others whether it finished."""
    done, tries, saved = True, 0, 0.0
    for name in task.needs:
        if name in ended:
            finished = yield ended[name]
            done = done and finished
    while done and saved < work:
        if assumed.queue:
            yield clock.timeout(random.expovariate(1 / assumed.queue))
        with workers.request(priority=_order(task)) as place:
            yield place
            slow = assumed.slow_factor if random.random() < assumed.slow_share else 1.0
            failure, preemption = (_next(random, rate) for rate in (assumed.failures, assumed.preemptions))
            needed = slow * (assumed.restart + work - saved)
            ran = min(needed, failure, preemption)
            yield clock.timeout(ran)
        outcome.busy += ran
        progress = max(0.0, ran / slow - assumed.restart)
        if ran == needed:
            saved = work
            continue
        outcome.restarts += 1
        if failure < preemption:
            kept = _saved(saved + progress, task.interval)
            outcome.lost += saved + progress - kept
            saved, tries = kept, tries + 1
            done = tries <= assumed.retries
        else:
            saved += progress
    if not done:
        outcome.failed.append(task.name)
    outcome.makespan = max(outcome.makespan, clock.now)
    ended[task.name].succeed(done)


def _order(task: Task) -> int:
    """Bases first, then the longest: milliseconds before a time that no task takes."""
    return -round(1e3 * task.seconds) - task.first * 10**15


def _saved(reached: float, interval: float) -> float:
    """Work at the last checkpoint."""
    return math.floor(reached / interval) * interval if interval else 0.0


def _next(random: Random, rate: float) -> float:
    """Seconds until the next event of a Poisson process with `rate` an hour."""
    return random.expovariate(rate / HOUR) if rate else math.inf


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value with at least that share of all values at or below it."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def mean_of(outcomes: Sequence[Outcome], name: str) -> float:
    """Mean over the simulations of one of their numbers."""
    return mean(float(getattr(outcome, name)) for outcome in outcomes)
