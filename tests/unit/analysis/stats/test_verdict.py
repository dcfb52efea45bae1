"""Each verdict word, and which rule wins where several hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.margins import Margin
from analysis.stats.verdict import (
    BASE_TOO,
    FLOOR,
    HARDLY_MOVED,
    HOLM,
    NO_GAIN,
    UNKNOWN_GAIN,
    Evidence,
    Movement,
    judge,
)

WOBBLE = np.array([-0.01, 0.01, -0.005, 0.005, 0.0])


def around(mean: float, n: int = 5) -> Interval:
    """Per-seed values around a mean, sd 0.0079 and half width 0.0098 at 5 seeds."""
    return paired_t(mean + WOBBLE[:n])


GAIN = around(0.06)
HIGHER = Evidence(around(0.05), around(0.05).p_value, control_gain=GAIN)
NEAR = Evidence(
    around(0.002),
    around(0.002).p_value,
    control_gain=GAIN,
    margin=Margin(0.25, of_gain=True),
    margin_p=0.01,
    base_p=0.99,
)


def word(evidence: Evidence) -> tuple[str, str | None]:
    found = judge(evidence)
    return found.word, found.reason


def test_a_difference_that_is_found_has_a_side() -> None:
    assert word(HIGHER) == ("better", None)
    lower = around(-0.05)
    assert word(replace(HIGHER, difference=lower, p_value=lower.p_value)) == ("worse", None)


def test_holm_decides_and_the_level_is_the_studys() -> None:
    assert word(replace(HIGHER, p_value=0.051)) == ("undecided", HOLM)
    assert word(replace(HIGHER, p_value=None)) == ("undecided", HOLM)
    loose = paired_t(0.05 + WOBBLE, level=0.9)
    assert word(replace(HIGHER, difference=loose, p_value=0.09))[0] == "better"


def test_within_the_margin_is_equivalent_also_where_a_difference_is_found() -> None:
    assert word(NEAR) == ("equivalent", None)
    small = around(-0.012)
    assert small.high is not None and small.high < 0
    lower = replace(NEAR, difference=small, p_value=small.p_value, one_family="a")
    assert word(lower) == ("equivalent", None)
    assert word(replace(lower, margin_p=0.06, one_family=None)) == ("worse", None)
    assert word(replace(NEAR, margin_p=0.06)) == ("undecided", None)
    assert word(replace(NEAR, margin=None, margin_p=None)) == ("undecided", None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"control_gain": None}, UNKNOWN_GAIN),
        ({"control_gain": around(0.005)}, NO_GAIN),  # [−0.5, +1.5]
        ({"control_gain": around(-0.06)}, NO_GAIN),
        ({"control_gain": around(0.06, n=2)}, NO_GAIN),  # no interval
        ({"base_p": 0.04}, BASE_TOO),
    ],
)
def test_nothing_is_alike_in_a_study_that_could_not_tell_it_apart(changes: dict, reason: str) -> None:
    assert word(replace(NEAR, **changes)) == ("cannot tell", reason)
    # That it cannot is no reason against a difference that it found.
    higher = replace(HIGHER, margin=Margin(0.2), margin_p=0.01, **changes)
    assert word(higher) == ("better", None)
    # Where no equivalence is claimed, it is just undecided.
    assert word(replace(NEAR, margin=None, margin_p=None, **changes)) == ("undecided", None)


@pytest.mark.parametrize(
    ("mean", "over", "expected"),
    [
        (0.05, 0.02, "better"),
        (0.05, 0.005, "cannot tell"),  # an interval that holds 0
        (0.05, -0.02, "cannot tell"),
        (-0.05, -0.02, "worse"),
        (-0.05, 0.02, "cannot tell"),
    ],
)
def test_rates_that_another_measure_chose_have_to_agree(mean: float, over: float, expected: str) -> None:
    difference = around(mean)
    found = judge(replace(HIGHER, difference=difference, p_value=difference.p_value, over_rates=around(over)))
    assert found.word == expected
    assert (found.reason is None) == (expected != "cannot tell")
    if found.reason is not None:
        assert "learning rates were chosen by another measure" in found.reason


def test_a_difference_of_one_family_is_none_of_problems() -> None:
    assert word(replace(HIGHER, one_family="divisors")) == (
        "cannot tell",
        "one family, divisors, carries the difference",
    )
    assert word(replace(NEAR, margin_p=0.5, one_family="divisors"))[0] == "undecided"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"difference": around(0.05, n=3)}, "three seeds"),
        ({"difference": around(0.05, n=2)}, "two seeds"),
        ({"difference": around(0.05, n=1)}, "one seed"),
        (
            {"difference": paired_t([0.05] * 5)},
            "no spread between seeds: an interval is not estimable",
        ),
        ({"at_floor": True}, FLOOR),
        ({"hardly_moved": True}, HARDLY_MOVED),
        ({"confounded": "the rate differs"}, "the rate differs"),
    ],
)
def test_a_study_that_cannot_tell_says_so_whatever_it_measured(changes: dict, reason: str) -> None:
    for evidence in (HIGHER, NEAR, replace(NEAR, margin_p=0.5)):
        assert word(replace(evidence, **changes)) == ("cannot tell", reason)


def test_an_arm_moved_if_its_accuracy_or_its_policy_did() -> None:
    # One run's error of a gain: √(0.006² + 0.008²) = 0.01.
    def hardly(gain: float | None, drift: float | None) -> bool:
        return Movement(gain, 0.006, 0.008, drift).hardly

    assert hardly(0.0099, 0.001) and hardly(-0.0099, None) and not hardly(0.0101, 0.001)
    assert not hardly(0.0, 0.02)  # a random reward moves the policy and not its accuracy
    assert not hardly(-0.0101, None)
    assert Movement(None, drift=0.001).hardly and not Movement(None).hardly
    assert not Movement(0.0, None, 0.008, None).hardly
