"""Objectives that move the ceiling, and forecasts that hold, from constructed tables."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis.report.rule_saturation import saturation

CONTROL, ARM = "objective=grpo", "objective=cispo"
PLAN: dict[str, Any] = {
    "control": {"objective": "grpo"},
    "arms": [{"label": f"objective={name}", "levels": {"objective": name}} for name in ("grpo", "cispo")],
}
Difference = tuple[float | None, float | None, float | None]
APART: Difference = (0.05, 0.02, 0.08)


def said(
    *,
    difference: Difference = APART,
    p: float | None = 0.001,
    tost_p: float | None = 0.9,
    reached: dict[str, list[bool]] | None = None,
    forecasts: list[float | None] | None = None,
    seeds: int = 5,
    curves: int = 5,
) -> list[str]:
    """The lines of a study of two arms; the last score is 0.5 and that of the first quarter 0.4."""
    rows = [
        {"arm": arm, "seed": seed, "reached": (reached or {}).get(arm, [True] * 5)[seed]}
        | {"forecast": (forecasts or [0.45] * 5)[seed] if arm == ARM else None, "held": 0.4, "observed": 0.5}
        | dict(zip(("difference", "difference_low", "difference_high"), difference, strict=True))
        | {"difference_p_value": p, "tost_p": tost_p}
        for arm in (CONTROL, ARM)
        for seed in range(curves)
    ]
    tables = {
        "saturation": pd.DataFrame(rows),
        "arms": pd.DataFrame([{"arm": arm, "seeds": seeds} for arm in (CONTROL, ARM)]),
    }
    return saturation(PLAN, lambda name: tables.get(name, pd.DataFrame()))


@pytest.mark.parametrize(
    ("p", "tost_p", "word"),
    [
        (0.0099, 0.051, "moves the ceiling (+5.0 [+2.0, +8.0])."),
        (
            0.0099,
            None,
            "moves the ceiling (+5.0 [+2.0, +8.0]).",
        ),  # no rise of the control to take a quarter of
        (0.0099, 0.05, "does not move the ceiling (+5.0 [+2.0, +8.0])."),
        (0.01, 0.9, "is undecided (+5.0 [+2.0, +8.0])."),
        (None, None, "is undecided (+5.0 [+2.0, +8.0])."),
    ],
)
def test_every_word_on_the_ceiling(p: float | None, tost_p: float | None, word: str) -> None:
    ceiling, _ = said(p=p, tost_p=tost_p)
    assert ceiling.endswith(f"of its rise. `{ARM}` {word}")


@pytest.mark.parametrize(
    ("early", "counts"),
    [
        ({ARM: [True, True, False, True, False]}, "2 of its seeds and 0"),
        ({CONTROL: [False] + [True] * 4}, "0 of its seeds and 1"),
    ],
)
def test_nothing_is_said_while_a_seed_of_either_has_not_ended(
    early: dict[str, list[bool]], counts: str
) -> None:
    ceiling, _ = said(reached=early)
    assert (
        f"`{ARM}`: nothing is said, as {counts} of the control's have not reached their asymptote." in ceiling
    )


def test_a_difference_without_an_interval_says_nothing() -> None:
    assert "nothing is said, as its difference has no interval." in said(difference=(0.05, None, None))[0]


@pytest.mark.parametrize(
    ("forecasts", "words"),
    [
        ([0.45, 0.59, 0.5, 0.41, 0.55], f"It holds for `{ARM}` (5 of 5)."),
        ([0.45, 0.6, 0.5, 0.41, 0.55], f"It does not for `{ARM}` (4 of 5)."),  # as far as the score held
    ],
)
def test_a_forecast_holds_in_every_seed(forecasts: list[float | None], words: str) -> None:
    _, forecast = said(forecasts=forecasts)
    assert forecast.endswith(f"(seeds where it is). {words}") and CONTROL not in forecast


def test_a_seed_without_a_forecast_leaves_it_unsaid() -> None:
    assert len(said(forecasts=[0.45, None, 0.5, 0.5, 0.5])) == 1


def test_few_seeds_and_seeds_without_a_curve_are_not_read() -> None:
    assert said(seeds=3, curves=3) == []
    assert said(seeds=5, curves=4) == []
    assert saturation(PLAN, lambda name: pd.DataFrame()) == []
