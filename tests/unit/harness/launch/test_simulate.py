"""The simulated cluster against what theory, or another scheduler, says of it."""

from __future__ import annotations

import math
from random import Random
from statistics import mean, stdev

import pytest

from harness.launch.costs import makespan
from harness.launch.simulate import HOUR, Assumed, Outcome, Task, quantile, simulate

NO_START = {"restart": 0.0}


def ends(tasks: list[Task], repeats: int = 1, **assumed: float) -> list[Outcome]:
    given = Assumed(**{**NO_START, **assumed})
    return simulate(tasks, given, seed=1, repeats=repeats)


def near(values: list[float], expected: float) -> bool:
    """Within four standard errors of the mean."""
    return abs(mean(values) - expected) < 4 * stdev(values) / math.sqrt(len(values))


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_without_faults_it_is_the_plans_own_layout(workers: int) -> None:
    """`costs.makespan`: the longest first, each on the first worker that is free."""
    random = Random(workers)
    for number in (1, 4, 11):
        seconds = [random.uniform(1, 9) for _ in range(number)]
        tasks = [Task(str(i), x) for i, x in enumerate(seconds)]
        (found,) = ends(tasks, workers=workers)
        assert found.makespan == pytest.approx(makespan(seconds, workers))
        assert found.busy == pytest.approx(sum(seconds)) and found.lost == 0.0 and found.failed == []


def test_a_start_counts_once_a_task() -> None:
    (found,) = ends([Task("a", 10.0), Task("b", 5.0)], workers=1, restart=2.0)
    assert found.makespan == 10 + 5 + 2 * 2


def test_runs_wait_for_their_bases_and_bases_go_first() -> None:
    """One worker: base (4), then b (3) and a (2), which needs it. Two: a begins at 4, b at 0."""
    tasks = [Task("a", 2.0, needs=("base",)), Task("b", 3.0), Task("base", 4.0, first=True)]
    assert ends(tasks, workers=1)[0].makespan == 9.0
    assert ends(tasks, workers=2)[0].makespan == 6.0


def test_what_is_needed_and_not_in_the_study_is_there_already() -> None:
    assert ends([Task("a", 2.0, needs=("made before",))])[0].makespan == 2.0


@pytest.mark.parametrize("interval, parts", [(0.0, 1), (250.0, 4)])
def test_failures_cost_what_renewal_theory_says(interval: float, parts: int) -> None:
    """Work w in n parts that are each done again from their start: n (exp(rate w / n) - 1) / rate seconds."""
    work, rate = 1000.0, 5.0 / HOUR
    found = ends([Task("a", work, interval)], 4000, failures=5.0, retries=10**6)
    expected = parts * (math.exp(rate * work / parts) - 1) / rate
    assert near([outcome.makespan for outcome in found], expected)
    assert near([outcome.lost for outcome in found], expected - work)
    assert near([float(outcome.restarts) for outcome in found], rate * expected)


def test_a_run_ends_after_its_tries_and_what_waits_for_it_with_it() -> None:
    """Two tries fail with (1 - exp(-rate w)) ** 2."""
    tasks = [Task("base", 1000.0, first=True), Task("a", 1.0, needs=("base",))]
    found = ends(tasks, 4000, failures=3.6, retries=1)
    fails = (1 - math.exp(-1.0)) ** 2
    assert near([float("base" in outcome.failed) for outcome in found], fails)
    assert all("a" in outcome.failed for outcome in found if "base" in outcome.failed)
    assert {len(outcome.failed) for outcome in found} == {0, 2}  # of itself a fails once in a million


def test_preemption_costs_the_start_and_the_queue_alone() -> None:
    """Saved at the signal: no work is lost, and a restart adds its start and its wait."""
    found = ends([Task("a", 1000.0)], 200, preemptions=30.0, retries=0)
    assert all(outcome.makespan == pytest.approx(1000.0) and not outcome.failed for outcome in found)
    assert mean(outcome.restarts for outcome in found) > 5
    waits = ends([Task("a", 1000.0)], 4000, preemptions=3.6, queue=100.0)
    assert near([outcome.makespan for outcome in waits], 1000.0 + 100.0 * (1 + 1.0))


def test_a_queue_is_waited_in_without_a_worker() -> None:
    found = ends([Task(str(i), 10.0) for i in range(2)], 4000, workers=1, queue=1000.0)
    # The later of two exponential waits, and its run: 1000 (1 + 1/2) + 10, and up to 10 more where they meet.
    assert 1510 - 60 < mean(outcome.makespan for outcome in found) < 1520 + 60


def test_slow_nodes_stretch_runs_and_starts() -> None:
    assert ends([Task("a", 10.0)], slow_share=1.0, slow_factor=3.0, restart=2.0)[0].makespan == 36.0
    shares = [o.makespan == 30.0 for o in ends([Task("a", 10.0)], 2000, slow_share=0.25, slow_factor=3.0)]
    assert near([float(x) for x in shares], 0.25)


def test_run_times_are_drawn_from_the_ratios() -> None:
    found = simulate([Task("a", 10.0)], Assumed(restart=0.0), seed=0, repeats=200, ratios=[0.9, 1.3])
    assert {outcome.makespan for outcome in found} == {9.0, 13.0}


def test_a_seed_gives_the_same_again() -> None:
    tasks = [Task(str(i), 100.0 + i, 30.0) for i in range(9)]
    assumed = Assumed(workers=3, failures=10, preemptions=10, queue=20, slow_share=0.2)
    assert simulate(tasks, assumed, seed=3, repeats=5) == simulate(tasks, assumed, seed=3, repeats=5)
    assert simulate(tasks, assumed, seed=3, repeats=5) != simulate(tasks, assumed, seed=4, repeats=5)


def test_quantiles_are_values_that_occurred() -> None:
    assert [quantile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1, 1, 2, 3, 4]
