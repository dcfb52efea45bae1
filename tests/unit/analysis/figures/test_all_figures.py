"""What each figure shows: values, the untrained base, titles, the order of arms."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from PIL import Image

from analysis.figures.accuracy import compute, differences
from analysis.figures.all_figures import all_figures
from analysis.figures.evaluations import splits
from analysis.figures.figure import NARROW, WIDE, Figure
from analysis.figures.marks import curves, linear_x
from analysis.figures.theme import BASE, COLOURS, INK
from analysis.figures.training import diagnostics, step_rows
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.measures import splits_table

ARMS = ["objective=sft_rejection model=xs", "objective=grpo model=xs"]


@pytest.fixture
def loaded(make_study):
    study = load_study(make_study(seeds=3, models=("xs",)))
    primary = primary_of(study)
    return study, primary, arm_results(study, primary)


def test_every_figure_says_what_it_shows(loaded) -> None:
    figures = {figure.name: figure for figure in all_figures(*loaded)}
    based = (
        "anatomy",
        "differences",
        "checkpoints",
        "learning_curves",
        "compute",
        "derivations",
    )
    assert {*based, "diagnostics", "decomposition", "splits", "problems"} <= set(figures)
    for figure in figures.values():
        assert "3 seeds" in figure.title and figure.caption.endswith("."), figure.name
    for name in based:
        assert "the untrained base" in figures[name].title
        assert any(row.get("series") == BASE for row in figures[name].rows), name
    assert figures["problems"].rows[0]["label"] == BASE
    for name in ("decomposition", "splits"):
        assert "the untrained base (0)" in figures[name].title


def test_the_base_is_at_minus_the_controls_gain_and_its_interval_is_turned_round(loaded) -> None:
    study, primary, results = loaded
    figure = differences(study, primary, results)
    assert figure is not None
    grpo, base = figure.rows
    assert grpo["label"] == ARMS[1] and base["label"] == base["series"] == BASE
    assert grpo["value"] == pytest.approx(100 * results[1].difference.estimate)
    assert grpo["low"] == pytest.approx(100 * results[1].difference.low)
    gain = results[0].gain
    expected = [-100 * gain.estimate, -100 * gain.high, -100 * gain.low]
    assert [base["value"], base["low"], base["high"]] == pytest.approx(expected)
    assert figure.title.startswith("Difference to the control in avg@4 on test, 3 seeds")
    study.record.declared = {"margin": 0.03}
    assert "±3.0 points" in differences(study, primary, results).caption


def test_gains_by_split_are_those_of_the_table(loaded) -> None:
    study, primary, results = loaded
    figure = splits(study, primary, results)
    assert figure is not None
    raw = splits_table(study, primary, results).raw.set_index(["arm", "split"])
    assert len(figure.rows) == 2 * 4
    for row in figure.rows:
        place = (row["label"], row["panel"])
        assert row["value"] == pytest.approx(100 * raw.loc[place, "gain"])
        assert row["low"] == pytest.approx(100 * raw.loc[place, "gain_low"])


def test_the_front_is_drawn_and_said_or_neither(loaded) -> None:
    """GRPO scores higher here: a front of two arms where it costs more, of one where it costs less."""
    study, primary, (sft, grpo) = loaded
    for flops, several in ((2e12, True), (1e12, False)):
        figure = compute(study, primary, [sft, replace(grpo, means={**grpo.means, "flops": flops})])
        assert figure is not None
        assert any(row.get("front") for row in figure.rows) == several
        assert ("Dashed" in figure.caption) == several
    assert f"{grpo.label} has the highest mean and costs least" in figure.caption


def test_a_metric_of_one_step_is_a_point_not_an_empty_panel(make_study) -> None:
    folder = make_study(models=("xs",))
    for path in folder.glob("*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows[:-1]:
            del row["kept_loss"]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure = diagnostics(load_study(folder))
    assert figure is not None
    alone = [row for row in figure.rows if row["panel"].startswith("loss on base text")]
    assert [row["series"] for row in alone] == ARMS and {row["x"] for row in alone} == {6.0}
    (symbols,) = (layer for layer in figure.spec["spec"]["layer"] if layer["mark"]["type"] == "point")
    assert {"filter": "datum.count == 1"} in symbols["transform"]


def test_steps_of_a_long_run_are_averaged_in_bins(make_study, monkeypatch) -> None:
    """Rewards rate·step/6 in bins of three steps: means at steps 2 and 5."""
    study = load_study(make_study(seeds=3, models=("xs",)))
    monkeypatch.setattr("analysis.figures.training.MAX_POINTS", 2)
    rows = [row for row in step_rows(study, "reward") if row["series"] == ARMS[0]]
    assert [row["x"] for row in rows] == [2.0, 5.0]
    assert [row["value"] for row in rows] == pytest.approx([0.4 * 2 / 6, 0.4 * 5 / 6])


def test_a_figure_has_every_form(loaded) -> None:
    study, primary, results = loaded
    figure = differences(study, primary, results)
    assert figure is not None
    for width in (WIDE, NARROW):
        svg = figure.inline(width)
        drawn = [float(v) for v in svg.split('viewBox="')[1].split('"')[0].split()]
        assert drawn[2] == pytest.approx(width, abs=3)
        assert f"<title>{ARMS[1]}: " in svg and f"<title>{BASE}: " in svg
        assert INK not in svg and "currentColor" in svg
    assert figure.title.split(";")[0] in figure.svg and 'fill="white"' in figure.svg
    assert figure.png.startswith(b"\x89PNG") and len(figure.png) < 40_000
    assert figure.pdf.startswith(b"%PDF")


def test_hostile_names_stay_text(loaded) -> None:
    study, primary, results = loaded
    named = [replace(r, label=f"</svg><script>{r.label}</script>") for r in results]
    figure = differences(study, primary, named)
    assert figure is not None
    assert "<script" not in figure.inline(WIDE) + figure.svg and "&lt;script&gt;" in figure.inline(WIDE)


def test_a_png_has_the_colour_of_every_arm() -> None:
    """Four of five arms lie on each other: the first three show little but their symbols in the legend."""
    names = [f"arm {i}" for i in range(5)]
    slopes = dict.fromkeys(names, 1.0) | {names[-1]: 2.0}
    rows = [
        {"series": name, "x": x, "value": slope * x, "low": slope * x - 1, "high": slope * x + 1, "tip": ""}
        for name, slope in slopes.items()
        for x in (0.0, 1.0, 2.0)
    ]
    spec = curves(rows, x=linear_x("step"), title="accuracy", series=names)
    drawn = Image.open(io.BytesIO(Figure("five", "Five arms", "Five.", spec).png)).convert("RGB")
    found = {f"#{red:02x}{green:02x}{blue:02x}" for _, (red, green, blue) in drawn.getcolors(10**6)}
    assert {*COLOURS[:5], "#ffffff"} <= found
