"""The plan of a study: study.json as written, or one inferred from the runs' configs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.study.configs import flatten, varying_keys
from harness.records import records

TELLING = ("objective.name", "model.name", "corpus")  # keys that name an arm well, where they vary


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
    configs = {name: flatten(record.config) for name, record in runs.items()}
    earlier = {config.get("stage.start") for config in configs.values()}  # an arm is its last stage
    arms = _inferred_arms({name: config for name, config in configs.items() if name not in earlier})
    first = arms[0].levels if arms else {}
    return records.StudyRecord(
        study=folder.name,
        question="What differs between these runs?",
        factors={factor: sorted({arm.levels[factor] for arm in arms}) for factor in first},
        seeds=sorted({int(seed) for arm in arms for seed in arm.runs}),
        control=first,
        arms=arms,
        shared_base=any(_shares_a_base(arm, runs) for arm in arms),
        notes=["no readable study.json: arms were told apart by their configs"],
        command="",
    )


def _inferred_arms(configs: Mapping[str, Mapping[str, Any]]) -> list[records.Arm]:
    """Group runs whose configs agree in every varying key; equal labels are numbered."""
    varying = varying_keys(list(configs.values()))
    shown = [key for key in varying if key in TELLING] or varying
    arms: dict[tuple[str, ...], records.Arm] = {}
    for name, config in configs.items():
        identity = tuple(str(config.get(key)) for key in varying)
        if identity not in arms:
            levels = {key.removesuffix(".name"): str(config.get(key)) for key in shown}
            label = " ".join(f"{k}={v}" for k, v in levels.items()) or "all runs"
            equal = sum(arm.label.split(" #")[0] == label for arm in arms.values())
            label += f" #{equal + 1}" if equal else ""
            arms[identity] = records.Arm(label=label, levels=levels, overrides=[])
        arms[identity].runs.setdefault(_seed(config), name)
    return list(arms.values())


def _seed(config: Mapping[str, Any]) -> str:
    seed = config.get("seed")
    return str(seed) if isinstance(seed, int) and 0 <= seed < 10**18 else "0"


def _shares_a_base(arm: records.Arm, runs: Mapping[str, records.RunRecord]) -> bool:
    return len({runs[run].base_id for run in arm.runs.values()}) < len(arm.runs)
