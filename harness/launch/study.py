"""study.json: what an ablation is, over all its launches. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.launch.ablation import arm_key
from harness.launch.compose import Sweep
from harness.launch.levels import absent
from harness.launch.plan import arm_label, by_arm
from harness.records.records import Arm, StudyRecord, read_study
from harness.schema.run_config import ConfigError

DECLARED = {
    "fixed",
    "family",
    "nulls",
    "checkpoint",
    "margin",
}  # the ablation's fields without a place of their own


def merged_study(
    sweep: Sweep, folder: Path, *, command: str, pilot: Sequence[dict[str, Any]] = ()
) -> StudyRecord:
    """The study as now planned, with the arms and seeds of earlier launches that have the same settings.

    Raises ConfigError when the study on disk varies other factors, RecordError when it cannot be read.
    """
    arms = {
        label: Arm(
            label=label,
            levels=jobs[0].levels,
            overrides=[line for line in jobs[0].overrides if not line.startswith("seed=")],
            runs={str(job.config.seed): job.run_id for job in jobs},
        )
        for label, jobs in by_arm(sweep.jobs).items()
    }
    record = StudyRecord(
        study=sweep.jobs[0].config.study,
        question=sweep.question,
        factors=sweep.factors,
        seeds=sweep.seeds,
        control=sweep.control,
        arms=list(arms.values()),
        shared_base=sweep.shared_base,
        primary=sweep.primary,
        declared=sweep.spec.model_dump(include=DECLARED) if sweep.spec else {},
        pilot=list(pilot),
        command=command,
    )
    if (folder / "study.json").exists():
        record = _merge(sweep, record, read_study(folder), folder)
    if gaps := absent(sweep.spec, record.factors):
        record.declared["absent"] = gaps
    return record


def _merge(sweep: Sweep, new: StudyRecord, old: StudyRecord, folder: Path) -> StudyRecord:
    if set(old.factors) != set(new.factors):
        raise ConfigError(
            f"study={new.study}: {folder} varies {', '.join(old.factors) or 'nothing'}, this sweep varies "
            f"{', '.join(new.factors) or 'nothing'}; give it a name of its own: study=..."
        )
    arms, dropped = {arm.label: arm for arm in new.arms}, 0
    rates = {choice["arm"]: float(choice["chosen"]) for choice in old.pilot}
    for earlier in old.arms:
        arm = earlier.model_copy(update={"label": arm_label(earlier.levels)})
        kept = {s: name for s, name in arm.runs.items() if sweep.run_id_of(arm.levels, s, rates) == name}
        dropped += sum(name not in kept.values() for name in arm.runs.values())
        if arm.label in arms:
            arms[arm.label].runs = dict(
                sorted((kept | arms[arm.label].runs).items(), key=lambda item: int(item[0]))
            )
        elif kept:
            arms[arm.label] = arm.model_copy(update={"runs": kept})
    new.arms = list(arms.values())
    here = {arm_key(arm.levels) for arm in new.arms} - {choice["arm"] for choice in new.pilot}
    new.pilot = [choice for choice in old.pilot if choice["arm"] in here] + new.pilot
    new.factors = {
        name: list(
            dict.fromkeys(
                level
                for level in [*old.factors[name], *levels]
                if any(arm.levels[name] == level for arm in new.arms)
            )
        )
        for name, levels in new.factors.items()
    }
    new.seeds = sorted({int(seed) for arm in new.arms for seed in arm.runs})
    new.control = {
        name: old.control[name] if old.control.get(name) in new.factors[name] else level
        for name, level in new.control.items()
    }
    new.notes = list(old.notes)
    if dropped:
        note = f"{dropped} runs of an earlier launch had other settings: kept on disk, left out of the study"
        new.notes = list(dict.fromkeys([*old.notes, note]))
        print(f"warning: {folder}: {note}", file=sys.stderr)
    return new
