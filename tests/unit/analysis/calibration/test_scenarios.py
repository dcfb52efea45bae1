"""Small simulations: sound estimators pass, and a broken one is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from analysis.calibration import choices, effects, grids, samplings, sequential, verdicts
from analysis.calibration.scenario import Scenario, failures, holds, simulate
from analysis.calibration.worlds import RATES
from analysis.stats.families import over_families
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.margins import Margin, margin_p
from analysis.stats.ratio import ratio_of_means


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """True means over 4,000 seeds: their error is 0.03 points."""
    for module in (choices, samplings):
        monkeypatch.setattr(module, "TRUTH", 4000)


def named(made: Iterable[Scenario], *parts: str) -> Scenario:
    (found,) = (scenario for scenario in made if all(part in scenario.what for part in parts))
    return found


def measured(scenario: Scenario, studies: int = 400) -> float:
    return simulate(replace(scenario, effort=1.0), studies=studies, seed=1)["measured"]


def narrow(level: float) -> Callable[..., Interval]:
    """A paired t of a lower level, which says that it is one of 95 %."""
    return lambda values, **_: paired_t(values, level=level)


def test_a_row_counts_what_holds_and_what_is_not_printed() -> None:
    hits = iter([[True, False], [None, True], [True, None]])
    row = simulate(Scenario("three", "paired t", "coverage", lambda rng: next(hits)), studies=3, seed=0)
    assert row["measured"] == 0.75 and (row["intervals"], row["not_printed"], row["studies"]) == (4, 2, 3)
    assert row["low"] == pytest.approx(0.30064, abs=1e-4)  # Wilson's for 3 of 4
    assert not row["passes"] and row["bounds"] == [0.93, 0.97]
    none = simulate(Scenario("none", "paired t", "coverage", lambda rng: [None]), studies=2, seed=0)
    assert none["measured"] is None and not none["passes"]


def test_the_random_numbers_are_the_scenarios_own() -> None:
    def row(what: str, seed: int) -> float:
        return simulate(
            Scenario(what, "paired t", "share", lambda rng: [bool(rng.random() < 0.5)]), studies=99, seed=seed
        )["measured"]

    assert row("a", 0) == row("a", 0)
    assert len({row("a", 0), row("a", 1), row("b", 0), row("c", 0)}) > 1


def test_failures_are_printed_rows_that_fail_and_controls_that_pass() -> None:
    rows = [
        {"what": f"{role} {passes}", "role": role, "passes": passes}
        for role in ("printed", "limit", "control")
        for passes in (True, False)
    ]
    assert failures(rows) == ["printed False", "control True"]


def test_an_interval_holds_its_ends_and_none_holds_nothing() -> None:
    interval = paired_t([0.1, 0.2, 0.3])
    assert holds(interval, interval.low or 0) and not holds(interval, (interval.high or 0) + 1e-9)
    assert holds(paired_t([0.1, 0.2]), 0.15) is None and holds(None, 0.0) is None


def test_each_seed_takes_its_best_rate() -> None:
    validation = np.array([[[1, 2, 3, 0, 0], [5, 5, 1, 0, 0]]]) / 10  # a tie: the smaller rate
    levels = np.arange(10.0).reshape(1, 2, 5)
    assert choices.choose(validation, levels).tolist() == [[2.0, 5.0]] and len(RATES) == 5


def test_a_rate_chosen_by_validation_is_covered_and_one_chosen_by_the_test_is_not() -> None:
    made = list(choices.scenarios())
    by_validation = measured(named(made, "gain over the base", "on validation"))
    by_test = measured(named(made, "gain over the base", "on test"))
    assert by_validation > 0.92 and by_test < 0.91  # 0.95 and 0.86; standard errors 0.011 and 0.017


def test_pilots_cost_coverage_and_choices_inside_the_seed_do_not() -> None:
    made = list(choices.scenarios())
    assert measured(named(made, "rate per seed", "two alike arms, 6 seeds, own bases")) > 0.92
    assert measured(named(made, "rate per seed", "two alike arms, 4 seeds, one base")) > 0.92
    assert measured(named(made, "measured noise of pilots", "1.5 points worse")) < 0.8


def test_a_narrow_interval_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (choices, effects, samplings):
        monkeypatch.setattr(module, "paired_t", narrow(0.85))
    for made, part in (
        (choices.scenarios, "two alike arms, 6 seeds, own bases"),
        (effects.scenarios, "gain, 6 seeds, normal"),
        (samplings.scenarios, "temperatures alike"),
    ):
        assert measured(named(made(), part)) < 0.91, part


def test_a_ratio_without_fieller_and_a_margin_held_fixed_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = named(effects.scenarios(), "ratio of gains, 4 seeds")
    edge = named(effects.scenarios(), "quarter of the gain, paired, 6 seeds", "upper")
    assert measured(sound) > 0.92 and measured(edge, 1500) < 0.07

    def divided(x: np.ndarray, y: np.ndarray) -> Interval | None:
        """The numerator's t over the denominator's mean, as if that were known."""
        return paired_t(np.asarray(x) / np.mean(y))

    monkeypatch.setattr(effects, "ratio_of_means", divided)
    assert measured(named(effects.scenarios(), "ratio of gains, 4 seeds")) > 0.97  # as the two move together
    monkeypatch.setattr(effects, "ratio_of_means", lambda x, y: ratio_of_means(x, y, level=0.8))
    assert measured(named(effects.scenarios(), "ratio of gains, 4 seeds")) < 0.87

    def fixed(d: np.ndarray, gains: np.ndarray, margin: Margin) -> float | None:
        return margin_p(d, None, Margin(margin.value * float(np.mean(gains))))

    monkeypatch.setattr(effects, "margin_p", fixed)
    assert measured(named(effects.scenarios(), "quarter of the gain, paired, 6 seeds", "upper"), 1500) > 0.07


def test_new_families_are_covered_by_the_median_and_not_by_a_t(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list(grids.scenarios())
    for count in (6, 12, 24):
        part = f"median of {count}, 6 seeds, one family in six"
        assert measured(named(made, part)) > 0.925
    assert measured(named(made, "t for the mean of 6")) < 0.75

    def fixed_models(d: np.ndarray, families: list[str]) -> Interval:
        """Families alone: the seeds' own error is left out."""
        return over_families(np.repeat(d.mean(axis=0)[None], 3, axis=0), families)

    monkeypatch.setattr(grids, "over_families", fixed_models)
    assert measured(named(grids.scenarios(), "median of 24, 6 seeds, no family differs")) < 0.85


def test_the_base_overtakes_where_it_does() -> None:
    base, arm = grids._problem_rates(np.random.default_rng(5), (200_000,))
    curve = [((1 - (1 - p) ** k).mean()) for k in range(1, 17) for p in (base, arm)]
    first = next(k for k in range(1, 17) if curve[2 * k - 2] >= curve[2 * k - 1])
    assert grids._overtakes(16) == first and 4 <= first <= 16  # committed arms: 4 to 12
    assert measured(named(grids.scenarios(), "pass@1 to pass@16"), 150) > 0.92


def test_verdicts_seldom_say_what_is_not_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def says(*parts: str) -> float:
        return measured(named(verdicts.scenarios(), *parts), 400)

    assert says("better or worse, 6 seeds", "two alike arms, a margin") < 0.08
    assert says("lower edge", "6 seeds") < 0.085
    assert says("neither arm trained, margin 3 points") < 0.03 and says("untrained arm, control gains") < 0.05
    assert says("two alike arms (to be found)", "10 seeds") > 0.6
    # Without assay sensitivity an untrained arm is "equivalent" to one that gains less than the margin.
    monkeypatch.setattr("analysis.stats.verdict.Evidence.insensitive", None)
    assert says("untrained arm, control gains") > 0.3
    assert says("neither arm trained, margin 3 points") > 0.5


def test_looks_are_allowed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list(sequential.scenarios())
    assert measured(named(made, "no margin declared"), 300) < 0.09  # 0.05 in truth, 0.17 if not adjusted
    assert measured(named(made, "no adjustment for looks"), 300) > 0.1
    assert measured(named(made, "half width of 0.5")) > 0.92
