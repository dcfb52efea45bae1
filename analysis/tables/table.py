"""A table in every form: Markdown, LaTeX, CSV, HTML, W&B, terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from analysis.tables.latex import latex_table
from harness.records.reading import visible

if TYPE_CHECKING:
    import pandas as pd

_ELEMENT = re.compile(r"<(?=[A-Za-z/!?])")  # what opens an HTML element; "p < 0.05" does not
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Table:
    """`cells` hold text as shown; `raw` holds numbers (accuracies in [0, 1]) for the CSV of the same name."""

    name: str
    title: str
    columns: list[str]
    cells: list[list[str]]
    raw: pd.DataFrame
    note: str = ""
    terminal_columns: int | None = None  # a terminal is narrow: how many columns it shows

    def markdown(self) -> str:
        """A pipe table; a cell's own pipes and line breaks are escaped."""
        lines = [self.columns, ["---"] * len(self.columns), *self.cells]
        rows = ["| " + " | ".join(_pipe_safe(cell) for cell in line) + " |" for line in lines]
        note = ["", markdown_text(self.note)] if self.note else []
        return "\n".join([f"### {markdown_text(self.title)}", "", *rows, *note])

    def latex(self, *, caption: str | None = None, label: str | None = None) -> str:
        """A booktabs table that fits a column of a paper: the title as caption, the note below."""
        return latex_table(
            self.name, self.title, self.columns, self.cells, self.note, caption=caption, label=label
        )

    def only(self, columns: Sequence[str]) -> Table:
        """The table with these columns, in this order. Raises ValueError for one that it has not.

        A column is named whole, or by a beginning that no other has. The first says what a row is: it comes
        first where it is not named.
        """
        places = [self._place(name) for name in columns]
        places = places if 0 in places else [0, *places]
        cells = [[row[place] for place in places] for row in self.cells]
        chosen = [self.columns[place] for place in places]
        return replace(self, columns=chosen, cells=cells, terminal_columns=None)

    def _place(self, name: str) -> int:
        found = [i for i, column in enumerate(self.columns) if column == name]
        found = found or [i for i, c in enumerate(self.columns) if c.lower().startswith(name.lower())]
        if len(found) != 1 or not name:
            why = "several columns begin so" if found else "no such column"
            raise ValueError(f"--columns {name}: {why}; the table {self.name} has {'; '.join(self.columns)}")
        return found[0]

    def csv(self) -> str:
        """The numbers behind the cells, full precision."""
        return csv_text(self.raw)

    def html(self) -> str:
        """A bare <table>, every cell escaped."""
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in self.columns)
        rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self.cells]
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        caption = f"<caption>{escape(self.title)}</caption>"
        return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>{note}"

    def wandb(self) -> dict[str, Any]:
        """Arguments of `wandb.Table`: the cells as readers see them."""
        return {"columns": self.columns, "data": self.cells}


def show(table: Table) -> None:
    """A table on the terminal, its leading columns where all would not fit."""
    import shutil
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = table.terminal_columns or len(table.columns)
    rows = [[visible(cell) for cell in row[:shown]] for row in [table.columns, *table.cells]]
    # Piped output has no width of its own: take what the widest row needs.
    needed = sum(max(map(len, column)) + 3 for column in zip(*rows, strict=True))
    console = Console(width=shutil.get_terminal_size().columns if sys.stdout.isatty() else needed + 4)
    drawn = RichTable(box=box.SIMPLE_HEAD, title=Text(visible(table.title)), pad_edge=False)
    drawn.title_justify = "left"
    for name in rows[0]:
        drawn.add_column(Text(name), overflow="fold")
    for row in rows[1:]:
        drawn.add_row(*(Text(cell) for cell in row))
    with console.capture() as captured:  # rich would end the program where nobody reads
        console.print(drawn)
        if shown < len(table.columns):
            left = f"More columns (r1-report table, --format markdown): {', '.join(table.columns[shown:])}."
            console.print(Text(visible(left)), style="dim", width=min(console.width, 110))
        if table.note:
            console.print(Text(visible(table.note)), style="dim", width=min(console.width, 110))
    print(captured.get(), end="")


def to_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a data frame; pandas is imported when a table is made."""
    import pandas as pd

    return pd.DataFrame(list(rows))


def markdown_text(text: str) -> str:
    """Text on one line in which nothing starts an HTML element, a link or a picture."""
    return _ELEMENT.sub("&lt;", " ".join(text.split())).replace("](", "]&#40;")


def csv_text(frame: pd.DataFrame, **options: Any) -> str:
    """CSV of a frame. A text that a spreadsheet would run as a formula gets a quotation mark before it, as
    OWASP's page on CSV injection says; numbers, negative ones too, stay as they are."""
    shown = frame.rename(columns=_no_formula)
    for name in shown.columns[[kind.kind not in "biuf" for kind in shown.dtypes]]:
        shown[name] = shown[name].map(_no_formula)
    return shown.to_csv(index=False, **options)


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _pipe_safe(cell: str) -> str:
    escaped = cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return markdown_text(escaped) if escaped.strip() else escaped
