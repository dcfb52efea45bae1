"""The report as one HTML file: from disk, without a request, with what a model wrote only ever as text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.figures.figure import Figure
    from analysis.report.content import Report

TEMPLATES = Path(__file__).resolve().parent / "templates"
MAX_BYTES = 1_000_000  # of a page; problems are left out of its completions until it fits


def html(report: Report) -> str:
    """Each figure stands in the page twice as SVG, for wide and for narrow screens; CSS shows the one that
    fits. Scripts add a browser of completions and quicker tooltips.

    Everything is escaped but the SVG and the scripts of this program; JSON keeps no `<`. A policy in the
    page forbids requests, and scripts other than its own.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["inline"] = Markup
    study, template = report.study.record, environment.get_template("report.html.j2")
    drawings = {figure.name: _drawings(figure) for figure in report.figures}

    def page(samples: list[dict[str, Any]]) -> str:
        return template.render(
            title=f"{report.study.name}: {study.question}",
            report=report,
            study=report.study.name,
            question=study.question,
            command=study.command,
            style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
            script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
            drawings=drawings,
            samples=embedded_json(samples),
            nonce=hashlib.sha256(embedded_json([samples, study.question]).encode()).hexdigest()[:24],
        )

    return page(fitting(report.samples, MAX_BYTES - len(page([]).encode())))


def fitting(samples: list[dict[str, Any]], budget: int) -> list[dict[str, Any]]:
    """Completions in at most `budget` bytes: every other problem goes until they fit; one problem stays."""
    problems = list(dict.fromkeys(row["problem"] for row in samples))
    while len(problems) > 1 and len(embedded_json(samples).encode()) > budget:
        problems = problems[::2]
        samples = [row for row in samples if row["problem"] in problems]
    return samples


def _drawings(figure: Figure) -> dict[str, str]:
    """SVG by the class that the style sheet shows on screens of its width."""
    from analysis.figures.figure import NARROW, WIDE

    return {"wide": figure.inline(WIDE), "narrow": figure.inline(NARROW)}


def embedded_json(value: Any) -> str:
    """JSON that may stand inside <script type="application/json">: nothing in it can close the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
