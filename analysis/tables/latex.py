r"""A table as LaTeX that fits a column of a paper: \usepackage{booktabs}.

Widths are estimated from Computer Modern at \footnotesize (8 pt), rounded up. Columns that do not fit are
left out from the right, and a comment in the file names them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

GREEK = "Sigma Delta Pi alpha beta gamma delta epsilon theta kappa lambda mu pi rho sigma tau phi"
LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "—": "---",
    "–": "--",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "′": r"$'$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "·": r"$\cdot$",
    "‖": r"$\|$",
    **dict(zip("ΣΔΠαβγδεθκλμπρστφ", (f"$\\{name}$" for name in GREEK.split()), strict=True)),
    "\n": " ",
    "\u00a0": "~",
}
WIDTH = 345.0  # pt: the text of LaTeX's article class
FIRST, OTHER = 0.34, 0.22  # shares of the width above which a column's text is broken into lines
SEPARATION = 6.0  # pt between two columns
GLUED = re.compile(r"\([^()]*\d\]\)|\[[^\[\]]*\d\]")  # an interval, with the gain in front of it
_TRANSLATE = str.maketrans(LATEX)
_WIDE, _NARROW = "mwMW—%@&ABCDEFGHKNOPQRUVXYZ−±×→Δ≥≤", " ijlftr.,;:!|'()[]-I"


def escaped(text: str) -> str:
    """Text with LaTeX's own characters made harmless."""
    return text.translate(_TRANSLATE)


def latex_table(
    name: str,
    title: str,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    note: str = "",
    *,
    caption: str | None = None,
    label: str | None = None,
    width: float = WIDTH,
) -> str:
    r"""A floating table: `caption` (else the title) above, `\label{tab:...}`, the note below.

    The leading columns that fit `width`, in points, are shown; a first column of long names is broken.
    """
    rows = [list(columns), *([_glued(cell) for cell in row] for row in cells)]
    sizes = [_column(place, [row[place] for row in rows], width) for place in range(len(columns))]
    shown = _fitting([size for size, _ in sizes], width)
    spec = "".join(kind for _, kind in sizes[:shown])
    lines = [" & ".join(escaped(cell) for cell in row[:shown]) + r" \\" for row in rows]
    # A bracket that opens a row would be read as the argument of the \\ before it.
    lines = ["{}" * row[0].startswith("[") + line for row, line in zip(rows, lines, strict=True)]
    out = [escaped_comment(column) for column in columns[shown:]]
    left = [f"% left out to fit {width:g} pt, --columns chooses others: {', '.join(out)}"] if out else []
    tail = [rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {escaped(note)}}}"] if note else []
    return "\n".join(
        [
            r"% \usepackage{booktabs,array}",
            *left,
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(title if caption is None else caption)}}}",
            rf"\label{{{label or f'tab:{name}'}}}",
            rf"\footnotesize\setlength{{\tabcolsep}}{{{SEPARATION / 2:g}pt}}",
            rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            *tail,
            r"\end{table}",
        ]
    )


def _glued(text: str) -> str:
    """No line is broken inside an interval."""
    return GLUED.sub(lambda found: found.group().replace(" ", "\u00a0"), text)


def escaped_comment(text: str) -> str:
    return " ".join(text.split())


def text_width(text: str) -> float:
    """Points of a text at 8 pt, rounded up: narrow letters 3, others 4.6, capitals and signs 7."""
    return sum(7.0 if c in _WIDE else 3.0 if c in _NARROW else 4.6 for c in text)


def _column(place: int, texts: Sequence[str], width: float) -> tuple[float, str]:
    """(points, LaTeX's column type): numbers to the right, long texts broken into lines."""
    needed, most = max(map(text_width, texts)), (FIRST if place == 0 else OTHER) * width
    if needed <= most:
        return needed, "l" if place == 0 else "r"
    longest_word = max((text_width(word) for text in texts for word in text.split(" ")), default=0.0)
    size = max(most, longest_word + 4.0)  # no word is broken
    kind = r">{\raggedright\arraybackslash}" if place == 0 else r">{\raggedleft\arraybackslash}"
    return size, f"{kind}p{{{size:.0f}pt}}"


def _fitting(sizes: Sequence[float], width: float) -> int:
    """How many leading columns fit, one at least."""
    total, shown = 0.0, 0
    for size in sizes:
        total += size + (SEPARATION if shown else 0.0)
        if shown and total > width:
            break
        shown += 1
    return shown
