"""The report as one HTML file: from disk, without a request, with what a model wrote only ever as text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures.interactive import figure, packed_library

if TYPE_CHECKING:
    from analysis.report.content import Report

TEMPLATES = Path(__file__).resolve().parent / "templates"


def html(report: Report) -> str:
    """Static figures first, made interactive by an embedded plotly.js once the page has been shown.

    Everything is escaped but the SVG and the scripts of this program; JSON keeps no `<`. A policy in the
    page forbids requests, and scripts other than its own.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["inline"] = Markup
    figures = {f.name: figure(f.chart) for f in report.figures}
    library = packed_library() if figures else None
    study = report.study.record
    return environment.get_template("report.html.j2").render(
        title=f"{report.study.name}: {study.question}",
        report=report,
        study=report.study.name,
        question=study.question,
        command=study.command,
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
        figures=embedded_json(figures),
        samples=embedded_json(report.samples),
        library=library,
        nonce=hashlib.sha256(embedded_json([report.samples, study.question]).encode()).hexdigest()[:24],
    )


def embedded_json(value: Any) -> str:
    """JSON that may stand inside <script type="application/json">: nothing in it can close the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
