"""What differs between the configs of arms that are compared, and whether it was declared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from analysis.study.configs import differing_keys
from analysis.study.contrasts import control_of, primary_factor
from analysis.study.load import Study
from harness.records.records import Arm


@dataclass(frozen=True)
class ConfigDifference:
    """Keys in which an arm's config differs from that of the arm it is compared with."""

    arm: str
    other: str
    values: dict[str, tuple[Any, Any]]  # key -> (the other's, the arm's)
    undeclared: list[str]


def config_differences(study: Study) -> list[ConfigDifference]:
    """Each arm against its control, or against the first arm where it has none."""
    arms = study.record.arms
    differences = []
    for arm in arms:
        control = control_of(study, arm.levels, primary_factor(study))
        label = control or arms[0].label
        other = next(a for a in arms if a.label == label)
        config, other_config = _configs_of(study, arm, other)
        if arm is not other and config is not None and other_config is not None:
            found = _config_difference(arm, config, other, other_config)
            # Without a study.json arms differ from their control in one factor, and from others in more.
            by_hand = control is None and not arm.overrides
            differences.append(replace(found, undeclared=list(found.values)) if by_hand else found)
    return differences


def _config_difference(
    arm: Arm, config: dict[str, Any], other: Arm, other_config: dict[str, Any]
) -> ConfigDifference:
    chosen = {"trainer.lr"} if arm.rates else set[str]()  # it differs by seed: the table of arms has it
    keys = [key for key in differing_keys(other_config, config) if key not in chosen]
    declared = {f for f in arm.levels if arm.levels[f] != other.levels.get(f)}
    declared |= {line.split("=")[0].lstrip("+~") for line in set(arm.overrides) ^ set(other.overrides)}
    declared |= {key.split(".", 2)[-1] for key in declared if key.startswith("pipeline.")}
    outside = [k for k in keys if not any(k == d or k.startswith(f"{d}.") for d in declared)]
    if declared & {"pipeline", "stage"}:  # what the last stages set is the pipelines' own
        outside = []
    values = {k: (other_config.get(k), config.get(k)) for k in keys}
    return ConfigDifference(arm.label, other.label, values, outside if arm.overrides else [])


def _configs_of(study: Study, arm: Arm, other: Arm) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """A config of each, of one seed where they share one: seeds may have data of their own."""
    known = study.configs
    mine, theirs = ({s: known[r] for s, r in a.runs.items() if r in known} for a in (arm, other))
    seed = next((s for s in mine if s in theirs), None)
    if seed is not None:
        return mine[seed], theirs[seed]
    return next(iter(mine.values()), None), next(iter(theirs.values()), None)
