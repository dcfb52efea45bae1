"""Rules of pretraining until an accuracy (`model.pretrain.until`). Imports no torch."""

from __future__ import annotations

import math
from typing import Any

from harness.records.records import GENERATED
from harness.schema.section import Check


def _size(run: Any) -> int | None:
    """Validation problems that the config states; None where a file or a published set decides."""
    data = run.measured_data
    parts = list(data.components.values()) or [data]
    sizes = [p.num_validation or 0 if p.dataset in GENERATED else p.num_validation for p in parts]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _until(run: Any) -> Any:
    return run.model.pretrain.until if run.model.pretrain is not None else None


def _missed(run: Any) -> str:
    """The validation problems of which no number is near enough to the accuracy; "" where one is."""
    until, size = _until(run), _size(run)
    if until is None or not size:
        return ""
    least, most = (until.accuracy + sign * until.within for sign in (-1, 1))
    hit = math.floor(most * size + 1e-9) >= math.ceil(least * size - 1e-9)
    return "" if hit else str(size)


UNTIL_CHECKS: tuple[Check[Any], ...] = (
    Check(
        lambda c: _until(c) is not None and _size(c) == 0,
        "model.pretrain.until with data={c.measured_data.name}, which has no validation problems to stop by; "
        "set data.num_validation, or until=null",
    ),
    Check(
        lambda c: _missed(c),
        "model.pretrain.until.accuracy={c.model.pretrain.until.accuracy:g}: no number of the validation "
        "problems of data={c.measured_data.name} lies within {c.model.pretrain.until.within:g} of it; raise "
        "data.num_validation or until.within",
    ),
)
