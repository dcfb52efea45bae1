"""Places of arms, controls and bases: their panel, and where in it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from analysis.figures.marks import PANEL_GAP, PANEL_LINE, curves, linear_x
from analysis.figures.theme import BASE, GREY, num_lines, style
from analysis.figures.values import CONTROL, OWN, panels, side_by_side
from analysis.study.bases import untrained_bases
from analysis.study.contrasts import final_rows, primary_of
from analysis.study.load import load_study


def study_of(arms: list[str], control: dict[str, str]):
    """A study with one factor, as far as `panels` reads it."""
    listed = [SimpleNamespace(label=arm, levels={"objective": arm}) for arm in arms]
    record = SimpleNamespace(arms=listed, control=control, factors={"objective": arms}, primary={})
    return SimpleNamespace(record=record)


def rows_of(arms: list[str]) -> list[dict]:
    rows = [{"series": arm, "x": float(x), "value": float(i)} for i, arm in enumerate(arms) for x in (1, 2)]
    return [*rows, {"series": BASE, "value": 9.0, "rule": True, "arms": arms}]


def test_five_arms_share_a_panel_and_six_have_one_each_with_control_and_base() -> None:
    few, many = ["sft", *"abcd"], ["sft", *"abcde"]
    rows, series, titles = panels(study_of(few, {"objective": "sft"}), rows_of(few))
    assert series == [*few, BASE] and titles == [] and len(rows) == 11
    assert all("arms" not in row for row in rows)
    rows, series, titles = panels(study_of(many, {"objective": "sft"}), rows_of(many))
    assert series == [OWN, CONTROL, BASE] and titles == list("abcde")
    for place, title in enumerate(titles, start=1):
        shown = [(row["series"], row["value"]) for row in rows if row["panel"] == title]
        assert shown == [(CONTROL, 0.0)] * 2 + [(OWN, float(place))] * 2 + [(BASE, 9.0)]


def test_without_a_control_every_arm_has_its_panel() -> None:
    arms = list("abcdef")
    rows, series, titles = panels(study_of(arms, {}), rows_of(arms))
    assert titles == arms and series == [OWN, BASE] and len(rows) == 6 * 3


def test_a_base_stands_only_with_the_arms_trained_from_it() -> None:
    arms = list("abcdef")
    rows = [*rows_of(arms)[:-1], {"series": BASE, "value": 1.0, "rule": True, "arms": ["a"]}]
    found = panels(study_of(arms, {}), rows)[0]
    assert [row["panel"] for row in found if row["series"] == BASE] == ["a"]


def test_bars_at_one_place_stand_side_by_side() -> None:
    """0.012 of ln(100) = 0.05526 between two series: half of it to the left, half to the right."""
    rows = [{"series": s, "x": x, "value": 0.0} for s in "ab" for x in (1.0, 100.0)]
    moved = side_by_side(rows, ["a", "b"], log=True)
    assert [math.log(r["x"] / x["x"]) for r, x in zip(moved, rows, strict=True)] == pytest.approx(
        [-0.02763, -0.02763, 0.02763, 0.02763], abs=1e-5
    )
    linear = side_by_side(rows, ["a", "b"], log=False)
    assert [r["x"] for r in linear] == pytest.approx([1 - 0.594, 100 - 0.594, 1 + 0.594, 100 + 0.594])


def test_bases_of_two_models_are_two_and_name_their_model(make_study) -> None:
    study = load_study(make_study(seeds=3))
    task = primary_of(study).task
    bases = untrained_bases(study, task)
    assert [base.label for base in bases] == [f"{BASE}, model=xs", f"{BASE}, model=s"]
    assert [len(base.arms) for base in bases] == [2, 2]
    rows = final_rows(study, "objective=grpo model=s", task, base=True)
    estimate = bases[1].estimate(study, "avg", 0.95)
    assert estimate is not None and estimate.estimate == pytest.approx(
        sum(r["avg"] for r in rows.values()) / 3
    )
    assert list(bases[1].rows) == ["0", "1", "2"]


def test_arms_differ_in_more_than_colour_and_the_base_alone_is_grey() -> None:
    arms = [f"arm {i}" for i in range(20)]
    looks = style([*arms, BASE])
    pairs = list(zip(looks["colours"], looks["symbols"], strict=True))
    assert len(set(pairs)) == 21 and looks["colours"].count(GREY) == 1 and looks["colours"][-1] == GREY
    strokes = list(zip(looks["colours"], map(tuple, looks["strokes"]), strict=True))
    assert len(set(strokes)) == 21
    assert style(arms[:1])["strokes"] == [[1, 0]]
    rows = [{"series": name, "x": 1.0, "value": 0.0} for name in arms[:3]]
    layers = curves(rows, x=linear_x("step"), title=None, series=arms[:3])["layer"]
    (line,) = (layer for layer in layers if layer["mark"]["type"] == "line")
    dashes = line["encoding"]["strokeDash"]["scale"]["range"]
    assert len(set(map(tuple, dashes))) == 3  # beside symbols, too


def test_a_panels_title_has_room_below_the_panel_above() -> None:
    """Lines end at the first space after 12 characters: `groups without / reward variance, / share`."""
    title = "groups without reward variance, share"
    assert [num_lines(text, 12) for text in (title, "reward", "clip=none, kl=none", "a\nb")] == [3, 1, 1, 2]
    rows = [{"series": "a", "x": 1.0, "value": 0.0, "panel": name} for name in ("reward", title)]
    spec = curves(rows, x=linear_x("step"), title=None, series=["a"], panels=["reward", title])
    assert spec["spacing"]["row"] == PANEL_GAP + 3 * PANEL_LINE
