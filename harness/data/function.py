"""Problems that a function of the user's own makes: `data=function data.function.path=problems.py:rows`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from harness.data.jsonl import of_known_split
from harness.data.rows import problems_of
from harness.schema.data_config import DataConfig
from harness.schema.own_function import OwnFunction, load_function, said
from harness.schema.source_config import renamed
from harness.types import Problem

Row = dict[str, Any] | str


def load(data: DataConfig, split: str, bad_rows: list[str] | None = None) -> list[Problem]:
    """The rows whose `split` is the one asked for (`test` where a row has none).

    Raises ValueError for a function that fails, gives no mappings or other rows each time, and for bad rows
    unless `bad_rows` collects them.
    """
    rows = (
        (
            where,
            row if isinstance(row, str) else of_known_split(renamed(row, data.columns, data.answer_pattern)),
        )
        for where, row in _rows(data)
    )
    return problems_of(
        ((where, r) for where, r in rows if isinstance(r, str) or r.get("split", "test") == split),
        dataset=data.name,
        split=split,
        answer_range=data.answer_range,
        bad_rows=bad_rows,
    )


def fingerprint(data: DataConfig) -> dict[str, str]:
    """The function's name, and the SHA-256 of the rows that it gives."""
    assert data.function is not None
    return {data.function.name: _hash(_rows(data))}


def _rows(data: DataConfig) -> tuple[tuple[str, Row], ...]:
    assert data.function is not None
    return _made(data.function.frozen().model_dump_json())


@lru_cache(maxsize=8)
def _made(function: str) -> tuple[tuple[str, Row], ...]:
    """(where, row) of every row, made twice a process. Raises ValueError where the two differ."""
    own = OwnFunction.model_validate_json(function)
    field = f"data.function.path={own.path}"
    first, second = (tuple(_called(own, field)) for _ in range(2))
    if _hash(first) != _hash(second):
        raise ValueError(
            f"{field}: two calls gave other rows; seed its random numbers, and use no set's order"
        )
    return first


def _called(own: OwnFunction, field: str) -> Iterator[tuple[str, Row]]:
    try:
        found = load_function(own)(**own.params)
        rows = list(found) if isinstance(found, Iterable) and not isinstance(found, str | Mapping) else None
    except (Exception, SystemExit) as error:
        raise ValueError(f"{field}: {said(error) if not isinstance(error, ValueError) else error}") from None
    if rows is None:
        raise ValueError(f"{field}: it gave a {type(found).__name__}; return a list of mappings")
    for number, row in enumerate(rows, start=1):
        ok = isinstance(row, Mapping)
        yield f"{own.path}, row {number}", dict(row) if ok else f"a {type(row).__name__}, not a mapping"


def _hash(rows: Iterable[tuple[str, Row]]) -> str:
    text = json.dumps([row for _, row in rows], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
