"""metrics.jsonl of many runs as one frame.

Whole files go through pyarrow's JSON reader; whatever it does not take for plain rows of numbers (a damaged
or half-written line, "nan" written as text) is read line by line, which names the file and the line.
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


def read_steps(
    files: Iterable[tuple[Path, dict[str, Any]]], *, progress: Progress | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A row an optimiser step, with the labels given for its file; and what could not be read.

    A file that is missing has no rows; one with a damaged line has none either and is named.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    tables, lengths, labels, damaged = [], [], [], []
    files = list(files)
    for i, (path, label) in enumerate(files):
        try:
            table = _table(path)
        except (records.RecordError, OSError) as error:
            damaged.append(str(error))
            continue
        finally:
            if progress:
                progress(i + 1, len(files))
        if table.num_rows:
            tables.append(table)
            lengths.append(table.num_rows)
            labels.append(label)
    if not tables:
        return pd.DataFrame({"step": [], "arm": []}), damaged
    frame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    index = np.repeat(np.arange(len(lengths)), lengths)
    for name in labels[0]:
        values = pd.Categorical([label[name] for label in labels])
        frame[name] = values[index]
    return frame, damaged


def _table(path: Path) -> Any:
    """One file as a pyarrow table of numbers."""
    import pyarrow as pa
    from pyarrow import json as pa_json

    if not path.exists():
        return pa.table({})
    data = path.read_bytes()
    lines = [line for line in data.split(b"\n") if line.strip()]
    try:
        # One block a file: types are inferred from all of it. A second thread only costs at this size.
        options = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
        table = pa_json.read_json(pa.BufferReader(data), read_options=options)
        whole = table.num_rows == len(lines) and all(line.startswith(b"{") for line in lines)
        if whole and all(map(_is_number, table.schema.types)):
            return table
    except pa.ArrowInvalid:
        pass
    return pa.Table.from_pylist(_plain(read_metrics(path)))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers as floats and every key in every row: from_pylist takes names and types from few rows."""
    names = dict.fromkeys(key for row in rows for key in row)
    number = lambda v: float(v) if isinstance(v, int | float) else None  # noqa: E731
    return [{name: number(row.get(name)) for name in names} for row in rows]
