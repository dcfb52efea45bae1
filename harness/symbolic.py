"""Symbolic comparison in a killable worker."""

from __future__ import annotations


def compare(gold: str, pred: str, *, gold_is_number: bool = False) -> tuple[bool, str]:
    """Whether math-verify finds two normalised answers equal, and why not."""
    return False, "different text"


def worker_stats() -> dict[str, int]:
    """Counts of this process."""
    return {}
