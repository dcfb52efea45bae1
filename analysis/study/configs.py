"""Configs of runs, flat, and the keys in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.records.records import GENERATED

if TYPE_CHECKING:
    import pandas as pd

# Keys that differ between the runs of one arm, or do not change what is trained.
PER_RUN_KEYS = frozenset({"seed", "base_seed", "study", "output_dir"})
UNCOMPARED = ("tracking.", "eval.", "stage")  # a stage's place says what it begins from, seed by seed
MEASURED = "stage.data."  # the data of a pipeline, where a stage trains on other
# Texts of the user's own functions, whose hashes stand beside them.
SOURCES = (".custom.source", ".function.source")


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested config -> {"trainer.lr": 0.001}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Keys of two flat configs whose values differ, except seeds, paths, tracking and evaluation."""
    return sorted(
        key
        for key in first.keys() | second.keys()
        if key not in PER_RUN_KEYS and not key.startswith(UNCOMPARED) and not key.endswith(SOURCES)
        if first.get(key) != second.get(key)
    )


def varying_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys in which any config differs from the first."""
    return sorted({key for other in configs[1:] for key in differing_keys(configs[0], other)})


def draw_of(config: Mapping[str, Any], split: str) -> tuple[tuple[str, int], ...]:
    """Data seeds of a run's generated problems by place; empty for a benchmark, whose problems are its own.

    Ids of generated problems count them, so that two draws may have the same ids and other problems.
    """
    benchmarks = config.get("eval.benchmarks") or []
    if any(isinstance(b, dict) and split in (b.get("name"), b.get("task")) for b in benchmarks):
        return ()
    if any(key.startswith(MEASURED) for key in config):
        measured = {k: v for k, v in config.items() if k.startswith(MEASURED)}
        config = {k.removeprefix("stage."): v for k, v in measured.items()}
    made = [
        k.removesuffix(".dataset") for k, v in config.items() if k.endswith(".dataset") and v in GENERATED
    ]
    return tuple((place, int(config.get(f"{place}.data_seed") or 0)) for place in sorted(made))


def problems_of(row: pd.Series[Any]) -> tuple[Any, ...]:
    """What tells an evaluation's problems from those of another: their ids, and the seeds that drew them."""
    return row["problem_ids"], row["draw"]
