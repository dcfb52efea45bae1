"""A figure of a report: one Vega-Lite description, drawn as SVG for the page and as SVG, PNG and PDF files.

vl-convert draws without a browser. The same figure gives the same SVG and PNG, byte for byte.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.etree import ElementTree

from analysis.figures.theme import INK, SYMBOL_SIZE, config

WIDE, NARROW = 720, 356  # px: a page's column, and a telephone's screen of 390 px less its margins
PRINT, PRINT_POINTS = 460, 343.5  # px as drawn, and PostScript points: the text of LaTeX's article class
PNG_SCALE = 1.8
_LEGEND_CHARACTER, _LEGEND_GAP = 6.4, 36  # px
_SVG = "http://www.w3.org/2000/svg"
_UNUSED = frozenset(
    ("class", "role", "aria-label", "aria-roledescription", "aria-hidden", "pointer-events", "font-family")
)
_GEOMETRY = frozenset(("d", "transform", "x", "y", "x2", "y2", "width", "height"))
_NO_SHIFT = {"transform": "translate(0,0)"}
_INVISIBLE = re.compile(r"(M0,0h[-\d.]+v[-\d.]+h[-\d.]+Z)?")


@dataclass(frozen=True)
class Figure:
    """A described figure. `spec` is Vega-Lite with its data inline and no size; `columns` counts the panels
    in a row, first where the figure is WIDE, then where it is NARROW."""

    name: str
    title: str
    caption: str
    spec: dict[str, Any]
    columns: tuple[int, int] = (1, 1)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The values that are drawn, one dictionary a mark."""
        return list(self.spec["data"]["values"])

    def inline(self, width: int) -> str:
        """SVG for a page: small, without title or background, in the page's text colour, with tooltips."""
        return _for_page(_fitted(self, width), f"{self.name}-{width}", self.title)

    @cached_property
    def svg(self) -> str:
        """SVG file of its own, with title, on white."""
        return _fitted(self, WIDE, titled=True).replace(INK, "#1b2026")

    @cached_property
    def png(self) -> bytes:
        """PNG in 256 colours, which is all that lines and flat areas need, at a third of the bytes.

        They are chosen by area: of 64 the colour of an arm that others cover became another arm's.
        """
        import vl_convert
        from PIL import Image

        drawn = Image.open(io.BytesIO(vl_convert.svg_to_png(self.svg, scale=PNG_SCALE))).convert("RGB")
        small = io.BytesIO()
        drawn.quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
        return small.getvalue()

    @cached_property
    def pdf(self) -> bytes:
        """PDF for a paper: PRINT_POINTS wide, text of 8 and 9 pt as text, no title (a caption has it)."""
        import vl_convert

        drawn = _fitted(self, PRINT, columns=min(2, self.columns[0])).replace(INK, "#000000")
        return vl_convert.svg_to_pdf(_resized(drawn, PRINT_POINTS))


def _resized(svg: str, width: float) -> str:
    """SVG of another width, its content as it was."""
    sized = re.compile(r'(<svg[^>]*?) width="([\d.]+)" height="([\d.]+)"')

    def smaller(found: re.Match[str]) -> str:
        return f'{found[1]} width="{width:.2f}" height="{float(found[3]) * width / float(found[2]):.2f}"'

    return sized.sub(smaller, svg, count=1)


def _fitted(figure: Figure, width: int, *, titled: bool = False, columns: int | None = None) -> str:
    """SVG of a given width in px. Labels take what they need, so the panels are sized in a second pass."""
    import vl_convert

    columns = columns or figure.columns[width < WIDE]
    panel = (width - 60.0) / columns - 20
    svg = ""
    for _ in range(2):
        svg = vl_convert.vegalite_to_svg(_sized(figure, width, panel, columns, titled=titled))
        found = re.search(r'<svg[^>]* width="([\d.]+)"', svg)
        assert found is not None
        panel = max(40.0, panel + (width - float(found[1])) / columns)
    return svg


def _sized(figure: Figure, width: int, panel: float, columns: int, *, titled: bool) -> dict[str, Any]:
    """The Vega-Lite specification with the theme, a panel's width, panels in a row, and the legend's."""
    spec = dict(figure.spec)
    names, symbol = _legend(spec)
    longest = max(map(len, names), default=0)
    fitting = int(width // (longest * _LEGEND_CHARACTER + _LEGEND_GAP + symbol))
    spec["config"] = config(legend_columns=max(1, fitting), titled=titled)
    if "spec" in spec:
        spec["spec"] = {**spec["spec"], "width": panel}
        spec["columns"] = columns
    else:
        spec["width"] = panel
    if titled:
        spec |= {"background": "white", "title": {"text": _wrapped(figure.title, 92)}}
    return spec


def _legend(spec: dict[str, Any]) -> tuple[list[str], float]:
    """Names in the legend, the domain of the colour scale in any layer, and the width of a symbol in px."""
    for layer in (spec.get("spec") or spec).get("layer", ()):
        colour = layer.get("encoding", {}).get("color") or {}
        domain = colour.get("scale", {}).get("domain")
        if domain and isinstance(domain[0], str):
            return list(domain), ((colour.get("legend") or {}).get("symbolSize") or SYMBOL_SIZE) ** 0.5
    return [], 0.0


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)


def _for_page(svg: str, name: str, title: str) -> str:
    """A third of the bytes: no roles or empty groups, coordinates to 0.1 px, labels of marks as tooltips."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    _simplify(root)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": title})
    text = ElementTree.tostring(root, encoding="unicode").replace(INK, "currentColor")
    return re.sub(r"((?:gradient_|clip)\d+)", rf"\1-{name}", text)  # two figures of a page share no id


def _simplify(parent: ElementTree.Element) -> None:
    """Drop what is not seen, unwrap groups that say nothing, and make the label of a mark its tooltip."""
    children: list[ElementTree.Element] = []
    for child in parent:
        _simplify(child)
        tag = child.tag.removeprefix(f"{{{_SVG}}}")
        label = child.get("aria-label")
        for key in [k for k, v in child.attrib.items() if k in _UNUSED or (k, v) == ("opacity", "1")]:
            del child.attrib[key]
        for key in child.attrib.keys() & _GEOMETRY:
            child.set(key, re.sub(r"-?\d+\.\d+", _tenth, child.attrib[key]))
        if tag == "path" and _is_invisible(child):
            continue
        if tag == "g" and (not len(child) or not child.attrib or child.attrib == _NO_SHIFT):
            children += child
            continue
        if tag != "g" and label:
            ElementTree.SubElement(child, f"{{{_SVG}}}title").text = label
        children.append(child)
    parent[:] = children


def _is_invisible(path: ElementTree.Element) -> bool:
    """True for an empty path or an unpainted box; the colour bar of a legend is a painted one."""
    painted = path.get("fill", "").startswith("url(")
    return not painted and _INVISIBLE.fullmatch(path.get("d", "")) is not None


def _tenth(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
