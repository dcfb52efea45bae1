"""Sections of a run's metrics at a tracker, which groups charts by what stands before a slash.

On disk names are plain: `loss` here is `train/loss` there, and what comes back from there is `loss` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
EVALUATIONS = "eval"
OTHERS = "train"  # the section of a name that stands in none of these
_NAMES = {
    "rollout": (
        *("reward", "reward_custom", "accuracy", "extracted", "zero_variance_groups", "completion_length"),
        *("truncated", "entropy", "sampled_tokens", "sampled_groups", "kept_groups", "accepted_samples"),
        *("unusable_references", "too_long_references", "right_steps", "step_reward"),
        *("sampler_gap", "sampler_trainer_kl", "tests_passed"),
    ),
    "cost": ("flops", "mfu", "sampled_per_second", "trained_per_second", "gpu_seconds", "microbatch_tokens"),
}
_BEGINNINGS = {
    "seconds_": "cost",
    "peak_memory_": "cost",
    "rm_": "reward_model",
    "prm_": "reward_model",
    "kept_": "kept",
    "search_": "rollout",
    "sampler_gap_": "rollout",
    "derivation_": "rollout",
}
_SECTION = {name: section for section, names in _NAMES.items() for name in names}
SECTIONS = (OTHERS, *_NAMES, "reward_model", "kept", EVALUATIONS)
STEP = "step"  # the axis: it stands in no section


def section_of(name: str) -> str:
    """`rollout` for `reward`, `cost` for `seconds_train`, `train` for a name of no other section."""
    beginning = next((section for start, section in _BEGINNINGS.items() if name.startswith(start)), OTHERS)
    return _SECTION.get(name, beginning)


def sectioned(metrics: Mapping[str, T]) -> dict[str, T]:
    """A step's metrics under their names at a tracker."""
    return {name if name == STEP else f"{section_of(name)}/{name}": value for name, value in metrics.items()}


def plain(metrics: Mapping[str, T]) -> dict[str, T]:
    """A tracker's row under the names on disk; evaluations, which have files of their own, are left out.

    Names of runs from before there were sections stay as they are.
    """
    found = {}
    for name, value in metrics.items():
        section, slash, rest = name.partition("/")
        if slash and section == EVALUATIONS:
            continue
        found[rest if slash and section in SECTIONS else name] = value
    return found
