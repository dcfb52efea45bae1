"""The report's page as a reader meets it: in a browser, with what a hostile model wrote."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.report.build import build_report
from analysis.report.page import embedded_json, fitting, html
from analysis.study.contrasts import primary_of
from analysis.study.load import load_study
from analysis.tables.samples import PROBLEMS, SAMPLES, sample_rows
from harness.grading.steps.check import check_steps
from harness.records import records
from harness.records.lines import write_samples
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
            {
                "problem_id": problem,
                "sample_idx": i if i < 3 else None,
                "problem": f"Problem {p}: <b>what</b> is {p} + 1?\n{HOSTILE[0]}",
                "reference": str(p + 1),
                "completion": text,
                "correct": bool(record.correct[p][i]),
                "extracted": text,
                "reason": "boxed: <b>equal</b>",
                "num_steps": i,
                "statements": marks(text),
                "num_wrong_steps": int(i == 2),
                "length": 9,
                "finish_reason": "stop",
            }
            for p, problem in enumerate(record.problem_ids)
            for i, text in enumerate(texts)
        ]
        write_samples(path.with_suffix(".samples.jsonl.gz"), rows)


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


def test_a_page_leaves_problems_out_until_it_fits() -> None:
    rows = [{"problem": p, "arm": arm, "text": "é" * 100} for p in "abcdefgh" for arm in ("sft", "grpo")]
    size = len(embedded_json(rows[:2]).encode()) - 1  # bytes of one problem with its comma
    assert fitting(rows, 8 * size + 1) == rows
    assert [row["problem"] for row in fitting(rows, 8 * size)] == ["a", "a", "c", "c", "e", "e", "g", "g"]
    assert [row["problem"] for row in fitting(rows, 0)] == ["a", "a"]
    assert fitting([], 0) == []


def test_completions_of_every_arm_on_the_same_problems(make_study) -> None:
    folder = make_study(seeds=3)
    add_samples(folder)
    study = load_study(folder)
    rows = sample_rows(study, primary_of(study))
    arms = {row["arm"] for row in rows}
    assert len(arms) == 6  # four arms, and the two bases that they share
    assert "base, model=s" in arms
    problems = {arm: {r["problem"] for r in rows if r["arm"] == arm} for arm in arms}
    assert len({frozenset(p) for p in problems.values()}) == 1
    count = len(next(iter(problems.values())))
    assert count == min(PROBLEMS, 20) and len(rows) == 6 * count * (SAMPLES + 1)
    assert [r["problem"] for r in rows] == sorted(
        (r["problem"] for r in rows), key=list(dict.fromkeys(r["problem"] for r in rows)).index
    )


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


@pytest.mark.skipif(browser.BINARY is None, reason="no Chromium here; .ci/run installs it")
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser(page_file: Path, width: int, theme: str) -> None:
    async def look(page: browser.Page) -> None:
        await page.value("document.getElementById('completions').scrollIntoView()")
        await _filters(page)
        assert await page.value("document.documentElement.scrollWidth") <= width  # nothing sticks out
        shown = "[...document.querySelectorAll('figure svg')].filter((s) => s.getBoundingClientRect().width)"
        assert await page.value(f"{shown}.length") == await page.value(
            "document.querySelectorAll('figure').length"
        )
        sizes = await page.value(
            f"{shown}.flatMap((s) => [...s.querySelectorAll('text')].map((t) => "
            "parseFloat(getComputedStyle(t).fontSize) * s.getBoundingClientRect().width"
            " / s.viewBox.baseVal.width))"
        )
        assert len(sizes) > 100 and min(sizes) >= 11  # px on the screen
        await _tooltip(page)
        await _isolation(page)
        await page.send("Emulation.setEmulatedMedia", media="print")
        heights = "[...document.querySelectorAll('.wide svg')].map((s) => s.getBoundingClientRect().height)"
        assert 0 < max(await page.value(heights)) <= 20 / 2.54 * 96 + 1  # 20 cm: a figure fits a page
        assert await page.value("window.pwned") is None
        assert page.errors == []
        own = page_file.resolve().as_uri()
        assert [url for url in page.requests if url != own and not url.startswith(("data:", "blob:"))] == []

    browser.visit(page_file, look, width=width, theme=theme)


async def _tooltip(page: browser.Page) -> None:
    """A mark that is pointed at says its arm and value."""
    # One call: a page that still scrolls would hide the tooltip before a second one reads it.
    tip = await page.value("""(() => {
        const grpo = '[data-tip^="objective=grpo model=xs: "]';
        const marks = [...document.querySelectorAll('figure ' + grpo)];
        const shown = marks.find((m) => m.getBoundingClientRect().width);
        shown.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
        const tip = document.querySelector('.tip');
        return tip.hidden ? '' : tip.textContent;
    })()""")
    assert tip.startswith("objective=grpo model=xs: ")


async def _isolation(page: browser.Page) -> None:
    """A press on a legend entry dims the other colours of its figure; another press shows them again."""
    pressed, dimmed, again = await page.value("""(() => {
        const drawn = [...document.querySelectorAll('#figure-checkpoints svg')];
        const svg = drawn.find((s) => s.getBoundingClientRect().width);
        const symbol = (text) => text.previousElementSibling;
        const entry = [...svg.querySelectorAll('text')].find((text) => symbol(text)?.tagName === 'path');
        const colour = (mark) => mark.getAttribute('stroke') || mark.getAttribute('fill');
        const marks = [...svg.querySelectorAll("[fill^='#'], [stroke^='#']")];
        const faint = () => marks.filter((mark) => mark.style.opacity).map(colour);
        const press = () => entry.dispatchEvent(new MouseEvent('click', {bubbles: true}));
        press();
        const dimmed = faint();
        press();
        return [symbol(entry).getAttribute('fill'), dimmed, faint()];
    })()""")
    assert dimmed and pressed.startswith("#") and pressed not in dimmed and again == []


async def _filters(page: browser.Page) -> None:
    """Every card is text, and each filter leaves those rows that it names."""
    rows = json.loads(await page.value("document.getElementById('samples').textContent"))
    assert await page.value("document.querySelector('.count').textContent.split(' ')[0]") == str(len(rows))
    shown = await page.value("[...document.querySelectorAll('.card pre')].map((e) => e.textContent)")
    assert set(HOSTILE) <= set(shown)
    questions = await page.value(
        "[...document.querySelectorAll('.card .question')].map((e) => e.textContent)"
    )
    assert len(questions) == len(shown) and all("<b>what</b>" in q and HOSTILE[0] in q for q in questions)
    assert "reference " in await page.value("document.querySelector('.card footer').textContent")
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
        ("change", "lost", lambda r: "lost" in (r["change"].values() if r["base_of"] else [r["change"]])),
        ("change", "gained", lambda r: "gained" in (r["change"].values() if r["base_of"] else [r["change"]])),
    ):
        expected: int = sum(bool(keep(r)) for r in rows)
        assert await _count(page, name, value) == expected and 0 < expected < len(rows)
        assert await _count(page, name, "") == len(rows)
    await _changed(page, rows)


async def _changed(page: browser.Page, rows: list[dict[str, Any]]) -> None:
    """Both filters at once leave an arm's completions on what it lost, with its base's beside them."""
    arm = "objective=grpo model=xs"
    await _count(page, "arm", arm)
    lost = [
        r
        for r in rows
        if (r["change"].get(arm) if r["base_of"] else r["arm"] == arm and r["change"]) == "lost"
    ]
    assert {bool(r["base_of"]) for r in lost} == {True, False}
    assert await _count(page, "change", "lost") == len(lost)
    await _count(page, "change", "")
    await _count(page, "arm", "")


async def _count(page: browser.Page, name: str, value: Any) -> int:
    """Set one filter as a user does, and read how many match."""
    field = f"document.querySelector('.filters').elements[{json.dumps(name)}]"
    await page.value(f"{field}.value = {json.dumps(value)}")
    await page.value(f"{field}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    return int(await page.value("document.querySelector('.count').textContent.split(' ')[0]"))
