"""GSM8K's test problems with other numbers (harness/data/perturb.py), each paired with its original."""

from __future__ import annotations

from dataclasses import replace

from harness.data import gsm8k
from harness.data.perturb import perturbations
from harness.types import Problem

SOURCES = {"test": gsm8k.TEST}


def load(split: str, *, seed: int = 0, bad_rows: list[str] | None = None) -> list[Problem]:
    """All that the rule gives as `test`; no other split. `pair_id` names the test problem of gsm8k."""
    if split != "test":
        return []
    twins = perturbations(gsm8k.TEST.load(split, bad_rows))
    return [replace(p, dataset="gsm8k_perturbed", split=split) for p in twins]
