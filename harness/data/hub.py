"""Problems of any hub data set, or of a local folder in its layout: `data=hub data.hub_id=owner/name`.

Its splits train, validation, test, heldout and perturbed are ours unless `data.hub_splits` names others.
Without a validation split, a tenth of the training problems is one (a hash of the text with `data_seed`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from harness.data.rows import problems_of
from harness.data.sources import read_hub, train_or_validation
from harness.schema.data_config import SPLITS, DataConfig
from harness.schema.source_config import renamed
from harness.types import Problem


def load(data: DataConfig, split: str, bad_rows: list[str] | None = None) -> list[Problem]:
    """The problems of a split; none where the data set has no such split.

    Raises ValueError for a data set that cannot be read, a split that `hub_splits` names and it has not, and
    bad rows unless `bad_rows` collects them.
    """
    theirs = _names(data)
    if split == "validation" and "validation" not in theirs:
        return _tenth(data, split, bad_rows) if "train" in theirs else []
    if split not in theirs:
        return []
    whole = split == "train" and "validation" not in theirs
    return _tenth(data, split, bad_rows) if whole else _problems(data, theirs[split], split, bad_rows)


def fingerprint(data: DataConfig) -> dict[str, str]:
    """The data set's name, and the SHA-256 of the problems of all its splits."""
    content = hashlib.sha256()
    for split in SPLITS:
        for problem in load(data, split, []):
            content.update("\x1f".join((split, problem.id, problem.text, problem.answer, "\x1e")).encode())
    return {str(data.hub_id): content.hexdigest()}


def _tenth(data: DataConfig, split: str, bad_rows: list[str] | None) -> list[Problem]:
    return train_or_validation(_problems(data, _names(data)["train"], split, bad_rows), split, data.data_seed)


def _problems(data: DataConfig, theirs: str, split: str, bad_rows: list[str] | None) -> list[Problem]:
    rows = _splits(str(data.hub_id), data.hub_config, data.hub_revision)[theirs]
    return problems_of(
        (
            (f"{data.hub_id} {theirs}, row {i}", renamed(dict(row), data.columns, data.answer_pattern))
            for i, row in enumerate(rows)
        ),
        dataset=data.name,
        split=split,
        answer_range=data.answer_range,
        bad_rows=bad_rows,
        prefix=f"{data.name}-{theirs}",
    )


def _names(data: DataConfig) -> dict[str, str]:
    """Our split -> the data set's, of those that it has."""
    has = _splits(str(data.hub_id), data.hub_config, data.hub_revision)
    found = {}
    for ours, asked in data.hub_splits.model_dump().items():
        if asked is not None and asked not in has:
            raise ValueError(f"data.hub_splits.{ours}={asked}: {data.hub_id} has {', '.join(has)}; name one")
        if asked is not None or ours in has:
            found[ours] = asked or ours
    return found


@lru_cache(maxsize=8)
def _splits(hub_id: str, config: str | None, revision: str | None) -> Mapping[str, Any]:
    found = read_hub(
        hub_id, config, f"data.hub_id={hub_id}", "name owner/name or a folder", revision=revision
    )
    return found if isinstance(found, Mapping) else {"train": found}
