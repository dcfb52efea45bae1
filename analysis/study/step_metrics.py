"""metrics.jsonl of many runs as one frame.

Line by line, as the harness reads it: pyarrow's reader is no quicker, and a first `null` ends its process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records import records
from harness.records.lines import read_metrics

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]
_LEFT_OUT = "its steps are left out; delete the run's folder and launch the run again to train it anew"


def read_steps(
    files: Iterable[tuple[Path, dict[str, Any]]], *, progress: Progress | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A row an optimiser step, with the labels given for its file; and what could not be read.

    A file that is missing has no rows; one with a damaged line, or steps out of order, has none either and is
    named.
    """
    import numpy as np
    import pandas as pd

    tables, labels, damaged = [], [], []
    files = list(files)
    for i, (path, label) in enumerate(files):
        try:
            table = _table(path)
        except records.RecordError as error:
            damaged.append(str(error))
            continue
        finally:
            if progress:
                progress(i + 1, len(files))
        if table is not None:
            tables.append(table)
            labels.append(label)
    if not tables:
        return pd.DataFrame({"step": [], "arm": []}), damaged
    names = list(dict.fromkeys(name for own, _ in tables for name in own))
    values = np.full((sum(len(rows) for _, rows in tables), len(names)), np.nan)
    at = 0
    for own, rows in tables:
        values[at : at + len(rows), [names.index(name) for name in own]] = rows
        at += len(rows)
    frame = pd.DataFrame(values, columns=names).astype({"step": int})
    index = np.repeat(np.arange(len(tables)), [len(rows) for _, rows in tables])
    for name in labels[0]:
        frame[name] = pd.Categorical([label[name] for label in labels])[index]
    return frame, damaged


def _table(path: Path) -> tuple[list[str], Any] | None:
    """Names of a file's columns, and its numbers [steps, columns]; None without a step."""
    import numpy as np

    if not (rows := read_metrics(path)):
        return None
    names = list(rows[0])
    if any(list(row) != names for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        rows = [dict(zip(names, map(row.get, names), strict=True)) for row in rows]
    try:
        numbers = np.array([[*row.values()] for row in rows], dtype=float)
    except OverflowError:
        raise records.RecordError(f"{path}: a number that is too large", _LEFT_OUT) from None
    steps = numbers[:, names.index("step")]
    if (behind := np.flatnonzero(np.diff(steps) <= 0)).size:
        first = behind[0]
        said = f"step {steps[first + 1]:g} stands after step {steps[first]:g}"
        raise records.RecordError(f"{path}: {said}", _LEFT_OUT)
    return names, numbers
