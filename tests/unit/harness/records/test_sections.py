"""Sections of metrics at a tracker, and the way back to the names on disk."""

from __future__ import annotations

import re
from pathlib import Path

from harness.records.sections import plain, section_of, sectioned

GLOSSARY = Path(__file__).resolve().parents[4] / "harness" / "README.md"


def test_a_name_comes_back_as_it_was() -> None:
    metrics = {
        "step": 3,
        "loss": 1.0,
        "reward": 0.5,
        "kept_loss": 2.0,
        "kept_groups": 7,
        "rm_auc": 0.6,
        "a/b": 1,
    }
    assert sectioned(metrics).keys() == {
        "step",
        "train/loss",
        "rollout/reward",
        "kept/kept_loss",
        "rollout/kept_groups",
        "reward_model/rm_auc",
        "train/a/b",
    }
    assert plain(sectioned(metrics)) == metrics


def test_runs_from_before_there_were_sections_are_read_as_they_are() -> None:
    assert plain({"step": 1, "loss": 2.0, "other/thing": 3}) == {"step": 1, "loss": 2.0, "other/thing": 3}
    assert plain({"step": 1, "eval/test/avg_at_k": 0.5}) == {"step": 1}


def test_names_of_the_glossary_stand_where_one_looks_for_them() -> None:
    """Every name in a section of its own list is one that is logged: a typing error would hide there."""
    from harness.records.sections import _NAMES

    known = set(re.findall(r"`([a-z_]+)`", GLOSSARY.read_text(encoding="utf-8")))
    assert {name for names in _NAMES.values() for name in names} <= known
    names = ("sampler_gap", "sampler_gap_to_2k", "mfu", "prm_auc", "grad_norm")
    assert [section_of(name) for name in names] == [
        "rollout",
        "rollout",
        "cost",
        "reward_model",
        "train",
    ]
