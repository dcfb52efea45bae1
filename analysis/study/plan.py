"""The plan of a study: study.json as written, or one inferred from the runs' configs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.study.by_hand import inferred_control, inferred_factors, level_of
from analysis.study.configs import flatten, varying_keys
from harness.records import records


def study_plan(
    folder: Path, runs: Mapping[str, records.RunRecord], damaged: list[str]
) -> records.StudyRecord:
    """Read study.json; without a readable one, infer arms and name what was wrong in `damaged`.

    Raises ValueError for a study.json of a newer version.
    """
    if (folder / "study.json").exists():
        try:
            return _relabelled(records.read_study(folder))
        except records.NewerRecord:
            raise
        except records.RecordError as error:
            damaged.append(f"{error}; arms are told apart by their configs instead")
    return _inferred_plan(folder, runs)


def _relabelled(study: records.StudyRecord) -> records.StudyRecord:
    """Give each arm one label everywhere: old studies repeat the factor's name, and pilots have their own."""
    for arm in study.arms:
        level = arm.levels.get("arm")
        parts = arm.label.split(", ")
        arm.label = ", ".join(str(level) if part == f"arm={level}" else part for part in parts)
    labels = {",".join(f"{k}={v}" for k, v in arm.levels.items()): arm.label for arm in study.arms}
    study.pilot = [{**row, "arm": labels.get(row["arm"], row["arm"])} for row in study.pilot]
    return study


def _inferred_plan(folder: Path, runs: Mapping[str, records.RunRecord]) -> records.StudyRecord:
    """A plan for runs that were launched one by one: what varies between them are its factors.

    A run that another begins from, or is taught by, is in no arm: a pipeline is judged by its last stage.
    """
    configs = {name: flatten(record.config) for name, record in runs.items()}
    earlier = {config.get(f"stage.{role}") for config in configs.values() for role in ("start", "teacher")}
    configs = {name: config for name, config in configs.items() if name not in earlier}
    runs = {name: record for name, record in runs.items() if name in configs}
    factors = inferred_factors(runs, configs)
    arms = _inferred_arms(runs, configs, factors)
    control, notes = inferred_control(arms, runs)
    order = sorted(factors, key=lambda name: name != next(iter(control), None))  # the first is compared
    return records.StudyRecord(
        study=folder.name,
        question="What differs between these runs?",
        factors={name: sorted({arm.levels[name] for arm in arms if name in arm.levels}) for name in order},
        seeds=sorted({int(seed) for arm in arms for seed in arm.runs}),
        control=control,
        arms=arms,
        shared_base=any(_shares_a_base(arm, runs) for arm in arms),
        notes=["no readable study.json: arms were told apart by their configs", *notes],
        command="",
    )


def _inferred_arms(
    runs: Mapping[str, records.RunRecord],
    configs: Mapping[str, Mapping[str, Any]],
    factors: Mapping[str, list[str]],
) -> list[records.Arm]:
    """Group runs whose configs agree in every varying key; arms of failed runs alone come last.

    A label has every factor. A failed run's also has what varies in failed runs alone.
    """
    varying = varying_keys(list(configs.values()))
    told = {key for keys in factors.values() for key in keys}
    arms: dict[tuple[str, ...], records.Arm] = {}
    for name in sorted(configs, key=lambda name: runs[name].status == "failed"):
        config = configs[name]
        identity = tuple(str(config.get(key)) for key in varying)
        if identity not in arms:
            levels = {factor: level_of(config, keys) for factor, keys in factors.items()}
            if runs[name].status == "failed":
                apart = (key for key in varying if key not in told)
                levels |= {key: str(config.get(key)) for key in apart if _differs(config, key, configs, runs)}
            label = " ".join(f"{factor}={level}" for factor, level in levels.items()) or "all runs"
            equal = sum(arm.label.split(" #")[0] == label for arm in arms.values())
            arms[identity] = records.Arm(
                label=label + (f" #{equal + 1}" if equal else ""), levels=levels, overrides=[]
            )
        arms[identity].runs.setdefault(_seed(config), name)
    return list(arms.values())


def _differs(
    config: Mapping[str, Any],
    key: str,
    configs: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, records.RunRecord],
) -> bool:
    """Whether a failed run's value is none that the runs that did not fail have."""
    return all(
        str(config.get(key)) != str(other.get(key))
        for name, other in configs.items()
        if runs[name].status != "failed"
    )


def _seed(config: Mapping[str, Any]) -> str:
    seed = config.get("seed")
    return str(seed) if isinstance(seed, int) and 0 <= seed < 10**18 else "0"


def _shares_a_base(arm: records.Arm, runs: Mapping[str, records.RunRecord]) -> bool:
    return len({runs[run].base_id for run in arm.runs.values()}) < len(arm.runs)
