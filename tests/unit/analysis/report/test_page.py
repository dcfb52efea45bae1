"""The report's page as a reader meets it: in a browser, with what a hostile model wrote."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from analysis.figures import chart as form
from analysis.figures import charts, interactive, outcome_charts, plots
from analysis.figures.ticks import spaced, tick_labels
from analysis.report.build import build_report
from analysis.report.page import embedded_json, html
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.tables.measures import splits_table
from analysis.tables.samples import PROBLEMS, SAMPLES, sample_rows
from harness.grading.steps.check import check_steps
from harness.records import records
from tests.unit.analysis.report import browser

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script><img src=x onerror='window.pwned = 2'> \U0001f600 2+2=5, 3*4=12 <b>x</b>",
    "<!-- <script> {{ 7 * 7 }} \u2028 \\u003c/script\\u003e",
)


def marks(text: str) -> list[Any]:
    return [[step.start, step.end, step.ok] for step in check_steps(text).steps]


def add_samples(study: Path) -> None:
    """Completions of every evaluation, hostile ones among them; those of one arm mention a word."""
    for path in [*study.glob("*/eval/*/*.json"), *study.parent.glob("bases/*/eval/*/*.json")]:
        record = records.read_eval(path)
        texts = [*HOSTILE, "17*3=51; \\boxed{51} kumquat" if "grpo" in str(path) else "\\boxed{7}"]
        rows = [
            {"problem_id": problem, "sample_idx": i if i < 3 else None, "completion": text,
             "correct": bool(record.correct[p][i]), "extracted": text, "reason": "boxed: <b>equal</b>",
             "num_steps": i, "statements": marks(text), "num_wrong_steps": int(i == 2), "length": 9,
             "finish_reason": "stop"}
            for p, problem in enumerate(record.problem_ids) for i, text in enumerate(texts)
        ]  # fmt: skip
        records.write_samples(path.with_suffix(".samples.jsonl.gz"), rows)


@pytest.fixture
def page_file(make_study, tmp_path: Path) -> Path:
    folder = make_study(seeds=3)
    add_samples(folder)
    path = tmp_path / "report.html"
    path.write_text(html(build_report(load_study(folder))), encoding="utf-8")
    return path


def test_json_in_the_page_cannot_close_its_element() -> None:
    text = embedded_json(list(HOSTILE))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == list(HOSTILE)


def test_completions_of_every_arm_on_the_same_problems(make_study) -> None:
    folder = make_study(seeds=3)
    add_samples(folder)
    study = load_study(folder)
    rows = sample_rows(study, primary_of(study))
    arms = {row["arm"] for row in rows}
    assert len(arms) == 6  # four arms, and the two bases that they share
    assert "base of objective=sft_rejection model=s" in arms
    problems = {arm: {r["problem"] for r in rows if r["arm"] == arm} for arm in arms}
    assert len({frozenset(p) for p in problems.values()}) == 1
    count = len(next(iter(problems.values())))
    assert count == min(PROBLEMS, 20) and len(rows) == 6 * count * (SAMPLES + 1)
    assert [r["problem"] for r in rows] == sorted((r["problem"] for r in rows), key=list(
        dict.fromkeys(r["problem"] for r in rows)).index)  # fmt: skip


def test_statements_are_marked_where_they_stand(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    add_samples(folder)
    study = load_study(folder)
    assert "base" in {row["arm"] for row in sample_rows(study, primary_of(study))}  # of all arms, so of none
    for row in sample_rows(study, primary_of(study)):
        marked = [(row["text"][start:end], right) for start, end, right in row["marks"]]
        expected = {HOSTILE[1]: [("2+2=5", False), ("3*4=12", True)]}
        assert marked == expected.get(row["text"], [("17*3=51", True)] if "kumquat" in row["text"] else [])


def test_damaged_completions_are_named_and_the_rest_shown(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    add_samples(folder)
    (path,) = folder.glob("grpo-xs-s0*/eval/step_*/aime_gen_test.samples.jsonl.gz")
    path.write_bytes(gzip.compress(b"{}\n")[:-4])
    report = build_report(load_study(folder))
    assert any(str(path) in note for note in report.notes)
    assert report.samples and all(row["arm"] != "objective=grpo model=xs" for row in report.samples)
    path.unlink()
    assert f"{path}: no such file; its completions are not shown" in build_report(load_study(folder)).notes


def test_without_plotly_the_still_figures_stay(make_study, monkeypatch) -> None:
    monkeypatch.setattr("analysis.report.page.packed_library", lambda: None)
    report = build_report(load_study(make_study(seeds=3, models=("xs",))))
    text = html(report)
    assert 'id="library"' not in text and text.count("<svg ") == len(report.figures)


def test_figures_hold_what_the_charts_say(make_study) -> None:
    report = build_report(load_study(make_study(seeds=3)))
    for drawing in report.figures:
        spec = interactive.figure(drawing.chart)
        json.dumps(spec, allow_nan=False)
        assert len(spec["panels"]) == max(1, len(drawing.chart.panels))
    (chart,) = (d.chart for d in report.figures if d.name == "differences")
    trace = interactive.figure(chart)["panels"][0]["data"][0]
    series = chart.panels[0].series[0]
    assert trace["x"] == pytest.approx(series.x, rel=1e-5)
    up = [h - x for h, x in zip(series.high, series.x, strict=True)]
    assert trace["error_x"]["array"] == pytest.approx(up, rel=1e-5)


@pytest.mark.skipif(browser.BINARY is None, reason="no Chromium here; .ci/run installs it")
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser(page_file: Path, width: int, theme: str) -> None:
    pytest.importorskip("plotly")

    async def look(page: browser.Page) -> None:
        await page.until("document.documentElement.dataset.live === 'yes'")
        await page.value("document.getElementById('completions').scrollIntoView()")
        await _filters(page)
        await page.value("document.querySelector('figure').scrollIntoView()")
        await page.until("document.querySelector('figure .live svg')")
        still = "getComputedStyle(document.querySelector('figure .still')).display"
        assert await page.value(still) == "none"
        assert await page.value("document.documentElement.scrollWidth") <= width  # nothing sticks out
        for i in range(await page.value("document.querySelectorAll('figure').length")):
            await page.value(f"document.querySelectorAll('figure')[{i}].scrollIntoView()")
            await page.until(f"document.querySelectorAll('figure')[{i}].querySelector('.live svg')")
        places = "[...document.querySelectorAll('.live > div')]"
        drawn = (
            f"{places}.map((d) => d.querySelector('.main-svg').getBoundingClientRect().width - d.clientWidth)"
        )
        assert len(await page.value(drawn)) > 8  # panels beside each other in one figure at least
        assert max(await page.value(drawn)) <= 1  # and none lies over its neighbour
        await page.send("Emulation.setEmulatedMedia", media="print")
        heights = "[...document.querySelectorAll('.still svg')].map((s) => s.getBoundingClientRect().height)"
        assert 0 < max(await page.value(heights)) <= 20 / 2.54 * 96 + 1  # 20 cm: a figure fits a page
        assert await page.value("window.pwned") is None
        assert page.errors == []
        own = page_file.resolve().as_uri()
        assert [url for url in page.requests if url != own and not url.startswith(("data:", "blob:"))] == []

    browser.visit(page_file, look, width=width, theme=theme)


async def _filters(page: browser.Page) -> None:
    """Every card is text, and each filter leaves those rows that it names."""
    rows = json.loads(await page.value("document.getElementById('samples').textContent"))
    assert await page.value("document.querySelector('.count').textContent.split(' ')[0]") == str(len(rows))
    shown = await page.value("[...document.querySelectorAll('.card pre')].map((e) => e.textContent)")
    assert set(HOSTILE) <= set(shown)
    marks = await page.value(
        "[...document.querySelectorAll('.card mark')].map((e) => [e.textContent, e.className])"
    )
    assert {tuple(m) for m in marks} == {("2+2=5", "wrong"), ("3*4=12", "right"), ("17*3=51", "right")}
    assert await page.value("document.querySelectorAll('.cards script, .cards img, .cards b').length") == 0
    for name, value, keep in (
        ("text", "KUMQUAT", lambda r: "kumquat" in r["text"]),
        ("grade", "unsound", lambda r: r["right"] and r["wrong"]),
        ("kind", "direct", lambda r: not r["steps"]),
        ("arm", "objective=grpo model=xs", lambda r: r["arm"] == "objective=grpo model=xs"),
    ):
        expected: int = sum(bool(keep(r)) for r in rows)
        assert await _count(page, name, value) == expected and 0 < expected < len(rows)
        assert await _count(page, name, "") == len(rows)


async def _count(page: browser.Page, name: str, value: Any) -> int:
    """Set one filter as a user does, and read how many match."""
    field = f"document.querySelector('.filters').elements[{json.dumps(name)}]"
    await page.value(f"{field}.value = {json.dumps(value)}")
    await page.value(f"{field}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    return int(await page.value("document.querySelector('.count').textContent.split(' ')[0]"))


def test_labels_of_a_log_axis_do_not_run_into_each_other() -> None:
    rates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]
    assert tick_labels(rates, small=False) == ["1e-5", "3e-5", "1e-4", "3e-4", "1e-3"]
    assert tick_labels(rates, small=True) == ["1e-5", "", "1e-4", "", "1e-3"]
    assert tick_labels([1, 2, 4, 8, 16], small=True) == ["1", "2", "4", "8", "16"]
    assert tick_labels([197_184, 0.0125], small=True) == ["197k", "0.0125"]
    assert spaced([1.0, 1.1, 3.0]) == [1.0, 3.0]
    # Over two decades 0.12 of the axis is a factor of 1.7: room for a label at 390 px.
    assert spaced([149, 248, 358, 590, 1970, 2690, 10_000, 13_700]) == [149, 358, 1970, 10_000]


def test_titles_of_small_panels_stay_above_their_own() -> None:
    """`clip=0.2, kl=none, std=sample` is wider than a fourth of a figure: it stands on two lines."""
    labels = [f"clip=0.2, kl=0.0{i}, std=sample" for i in range(4)]
    curve = [form.Series(label, [0.0, 1.0], [1.0, 2.0], mark="line") for label in labels]
    panels = [form.Panel("step", "", [s], title=s.label, y_range=(0.0, 3.0)) for s in curve]
    drawn = plots._panels(panels, small=True)
    drawn.canvas.draw()
    boxes = [axes.title.get_window_extent() for axes in drawn.axes]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes)) and boxes[-1].x1 <= drawn.bbox.x1
    live = interactive.figure(form.Chart("c", "c", "", panels, small=True))["panels"][0]["layout"]
    assert live["title"]["text"] == "clip=0.2, kl=0.00,<br>std=sample"
    one = replace(panels[0], title="grpo")
    short = interactive.figure(form.Chart("c", "c", "", [one], small=True))["panels"][0]["layout"]
    assert live["margin"]["t"] == short["margin"]["t"] + 16 and live["height"] == short["height"] + 16


def test_names_beside_a_heat_map_have_the_height_of_their_lines() -> None:
    (panel,) = interactive.figure(
        form.Chart("c", "c", "", heat=form.Heat(["base of sft_rejection, ladder_xs"], ["p"], [[1.0]], "a"))
    )["panels"]
    assert panel["data"][0]["y"] == ["base of<br>sft_rejection,<br>ladder_xs"]
    assert panel["layout"]["height"] == 130 + 3 * 15


@pytest.mark.parametrize("arms", [8, 9])
def test_gains_by_split_of_many_arms_stand_below_each_other(arms: int, make_study) -> None:
    """Nine arms have eight colours: then a panel a split, an arm a line, and every value as in the table."""
    study = load_study(make_study(seeds=3, models=("xs",)))
    primary = primary_of(study)
    first = arm_results(study, primary)[-1]
    results = [first] * arms
    chart = outcome_charts.splits(study, primary, results)
    assert chart is not None and len(chart.panels) == (1 if arms == 8 else 4)
    raw = splits_table(study, primary, [first]).raw.set_index("split")
    if arms == 9:
        for panel in chart.panels:
            (series,) = panel.series
            assert panel.flat and len(panel.names or ()) == len(series.x) == 9
            assert panel.x_range == chart.panels[0].x_range and panel.x_range[0] <= 0  # one scale, with 0
            assert series.x == pytest.approx([100 * raw.loc[panel.title, "gain"]] * 9)
            assert series.low == pytest.approx([100 * raw.loc[panel.title, "gain_low"]] * 9)


def test_the_front_is_drawn_and_told_or_neither(make_study) -> None:
    """GRPO scores higher here: a front of two arms where it costs more, of one where it costs less."""
    study = load_study(make_study(seeds=3, models=("xs",)))
    primary = primary_of(study)
    sft, grpo = arm_results(study, primary)
    for flops, dashed in ((2e12, True), (1e12, False)):
        chart = charts.compute(primary, [sft, replace(grpo, means={**grpo.means, "flops": flops})])
        assert chart is not None
        assert any(s.mark == "stairs" for s in chart.panels[0].series) == dashed
        assert ("Dashed" in chart.caption) == dashed
    assert f"Of the means {grpo.label}'s is the highest and costs least" in chart.caption
