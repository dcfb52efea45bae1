"""The record of a study over all its launches, study.json. Imports no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.launch.ablation import arm_key
from harness.launch.draws import pairing
from harness.launch.expand import Sweep
from harness.launch.jobs import Job
from harness.launch.levels import absent
from harness.launch.plan import arm_label, by_arm
from harness.launch.rates import as_text, rate_key
from harness.launch.status import readable
from harness.records.reading import RecordError
from harness.records.records import (
    Arm,
    NewerRecord,
    RunRecord,
    StudyRecord,
    read_study,
    run_folders,
    write_record,
)
from harness.schema.run_config import ConfigError

T = TypeVar("T")
# Fields of an ablation that study.json records under `declared`; the others have fields of their own there.
DECLARED = {"fixed", "family", "nulls", "ceiling", "checkpoint", "margin", "lr_grid", "draws", "match"}


def merged_study(
    sweep: Sweep, folder: Path, *, command: str, pilot: Sequence[dict[str, Any]] = ()
) -> StudyRecord:
    """The study as now planned, with the arms and seeds of earlier launches that have the same settings.

    A damaged study.json is made again from this sweep and the folders of earlier runs. Raises ConfigError
    when the study on disk varies other factors, NewerRecord when a newer program wrote it.
    """
    arms = {label: _arm(label, jobs, tried=bool(sweep.grid)) for label, jobs in by_arm(sweep.jobs).items()}
    record = StudyRecord(
        study=sweep.jobs[0].config.study,
        question=sweep.question,
        factors=sweep.factors,
        seeds=sweep.seeds,
        control=sweep.control,
        arms=list(arms.values()),
        shared_base=sweep.shared_base,
        primary=sweep.primary,
        declared=_declared(sweep),
        pilot=list(pilot),
        command=command,
    )
    if (folder / "study.json").exists():
        record = _merge(sweep, record, _earlier(sweep, record, folder), folder)
    if gaps := absent(sweep.spec, record.factors):
        record.declared["absent"] = gaps
    return record


def _declared(sweep: Sweep) -> dict[str, Any]:
    """What study.json records of the ablation's declaration beside its own fields."""
    if (spec := sweep.spec) is None:
        return {}
    rule = pairing(spec.draws, shared_base=sweep.shared_base)
    own: dict[str, Any] = {"matched": sweep.match} if sweep.match else {}
    if seeds := spec.seed_rule:
        own["until"] = seeds.model_dump()
    return {**spec.model_dump(include=DECLARED), "pairing": rule, **own}


def _arm(label: str, jobs: Sequence[Job], *, tried: bool) -> Arm:
    """An arm with the run of each seed or, where a grid is `tried`, of each learning rate and seed."""
    stage = jobs[0].config.stage
    own = ("seed=", rate_key(stage.name if stage else None) + "=") if tried else ("seed=",)
    overrides = [line for line in jobs[0].overrides if not line.startswith(own)]
    arm = Arm(label=label, levels=jobs[0].levels, overrides=overrides)
    for job in jobs:
        runs = arm.rates.setdefault(as_text(job.config.trainer.lr), {}) if tried else arm.runs
        runs[str(job.config.seed)] = job.run_id
    return arm


def _runs_of(arm: Arm) -> list[str]:
    """Every run of an arm, at whatever learning rate."""
    return [name for runs in (arm.runs, *arm.rates.values()) for name in runs.values()]


def write_study(folder: Path, record: StudyRecord, *, needed: bool) -> None:
    """Write study.json, and keep a damaged one as study.json.damaged.

    A disk that cannot be written is a warning where no run is `needed`.
    """
    path = folder / "study.json"
    try:
        if path.exists() and _readable(folder) is None:
            os.replace(path, folder / f"{path.name}.damaged")
            print(f"warning: {path}: made again; the damaged one is {path.name}.damaged", file=sys.stderr)
        if _readable(folder) != record:
            write_record(path, record)
    except OSError as error:
        if needed:
            raise
        print(f"warning: {path}: not written ({error.strerror}); there is nothing to run", file=sys.stderr)


def _readable(folder: Path) -> StudyRecord | None:
    """The study on disk; None where there is none or it is damaged. Raises NewerRecord."""
    try:
        return read_study(folder)
    except NewerRecord:
        raise
    except RecordError:
        return None


def _earlier(sweep: Sweep, new: StudyRecord, folder: Path) -> StudyRecord:
    """The study of earlier launches: study.json, or if it is damaged what the run folders say of it."""
    if (found := _readable(folder)) is not None:
        return found
    arms: dict[str, Arm] = {}
    known = {name for arm in new.arms for name in _runs_of(arm)}
    for place in run_folders(folder):
        if place.name not in known and (run := readable(place)) is not None:
            seed = str(run.config.get("seed"))
            rate = as_text(float(run.config["trainer"]["lr"])) if sweep.grid else None
            levels = _levels_of(sweep, new, run, seed, rate, place.name)
            if levels is not None:
                stage = (run.config.get("stage") or {}).get("name")
                own = ("seed=",) if rate is None else ("seed=", rate_key(stage) + "=")
                overrides = [line for line in run.overrides if not line.startswith(own)]
                made = Arm(label=arm_label(levels), levels=levels, overrides=overrides)
                arm = arms.setdefault(made.label, made)
                (arm.runs if rate is None else arm.rates.setdefault(rate, {}))[seed] = place.name
    levels_by = {
        factor: [*levels, *(arm.levels[factor] for arm in arms.values())]
        for factor, levels in new.factors.items()
    }
    return new.model_copy(
        update={"arms": list(arms.values()), "factors": levels_by, "pilot": [], "notes": []}
    )


def _levels_of(
    sweep: Sweep, new: StudyRecord, run: RunRecord, seed: str, rate: str | None, name: str
) -> dict[str, str] | None:
    """The arm that a run on disk is of, by its overrides or as a further seed; None if of none."""
    chosen = dict(line.lstrip("+").split("=", 1) for line in run.overrides if "=" in line)
    candidates = [arm.levels for arm in new.arms]
    if new.factors.keys() <= chosen.keys():
        candidates.insert(0, {factor: chosen[factor] for factor in new.factors})
    return next((levels for levels in candidates if sweep.run_id_of(levels, seed, {}, rate) == name), None)


def _merge(sweep: Sweep, new: StudyRecord, old: StudyRecord, folder: Path) -> StudyRecord:
    """Add to `new` the runs of `old` with the sweep's settings. Raises ConfigError for other factors."""
    if set(old.factors) != set(new.factors):
        raise ConfigError(
            f"study={new.study}: {folder} varies {', '.join(old.factors) or 'nothing'}, this sweep varies "
            f"{', '.join(new.factors) or 'nothing'}; give it a name of its own: study=..."
        )
    new.arms, num_dropped = _merged_arms(sweep, new, old)
    present = {arm_key(arm.levels) for arm in new.arms}
    chosen = {choice["arm"] for choice in new.pilot}
    new.pilot = [choice for choice in old.pilot if choice["arm"] in present - chosen] + new.pilot
    new.factors = {
        name: _levels_present(name, [*old.factors[name], *levels], new.arms)
        for name, levels in new.factors.items()
    }
    new.seeds = sorted(
        {int(seed) for arm in new.arms for runs in (arm.runs, *arm.rates.values()) for seed in runs}
    )
    new.control = {
        name: old.control[name] if old.control.get(name) in new.factors[name] else level
        for name, level in new.control.items()
    }
    if new.declared.get("matched"):
        ours = {row["arm"] for row in new.declared["matched"]}
        kept = [row for row in old.declared.get("matched") or [] if row["arm"] in present - ours]
        new.declared["matched"] = [*kept, *new.declared["matched"]]
    new.notes = list(old.notes)
    if "pairing" not in old.declared:  # begun before there was the rule: it does not change its comparison
        new.declared.pop("pairing", None)
    if num_dropped:
        note = (
            f"{num_dropped} runs of an earlier launch had other settings: kept on disk, left out of the study"
        )
        new.notes = list(dict.fromkeys([*old.notes, note]))
        print(f"warning: {folder}: {note}", file=sys.stderr)
    return new


def _merged_arms(sweep: Sweep, new: StudyRecord, old: StudyRecord) -> tuple[list[Arm], int]:
    """The arms of both records, and how many runs of `old` have other settings than the sweep now gives."""
    arms, num_dropped = {arm.label: arm for arm in new.arms}, 0
    rates = {choice["arm"]: float(choice["chosen"]) for choice in old.pilot}
    steps = {row["arm"]: int(row["steps"]) for row in old.declared.get("matched") or []}
    for earlier in old.arms:
        label = arm_label(earlier.levels)
        same = {
            s: name for s, name in earlier.runs.items() if _is_same(sweep, earlier, s, name, rates, steps)
        }
        tried = {
            rate: {
                s: name for s, name in runs.items() if _is_same(sweep, earlier, s, name, rates, steps, rate)
            }
            for rate, runs in earlier.rates.items()
        }
        tried = {rate: runs for rate, runs in tried.items() if runs}
        num_dropped += len(_runs_of(earlier)) - len(same) - sum(map(len, tried.values()))
        if label in arms:
            arms[label].runs = _by_number(same | arms[label].runs)
            ours = arms[label].rates
            found = {rate: tried.get(rate, {}) | ours.get(rate, {}) for rate in {**tried, **ours}}
            arms[label].rates = _by_number({rate: _by_number(runs) for rate, runs in found.items()})
        elif same or tried:
            arms[label] = earlier.model_copy(update={"label": label, "runs": same, "rates": tried})
    return list(arms.values()), num_dropped


def _by_number(found: dict[str, T]) -> dict[str, T]:
    """A dictionary in the order of its keys, which are seeds or learning rates."""
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def _is_same(
    sweep: Sweep,
    arm: Arm,
    seed: str,
    name: str,
    rates: dict[str, float],
    steps: dict[str, int],
    rate: str | None = None,
) -> bool:
    """Whether the sweep's settings give the arm's run of a seed the name that it has on disk."""
    return sweep.run_id_of(arm.levels, seed, rates, rate, steps) == name


def _levels_present(factor: str, levels: list[str], arms: Sequence[Arm]) -> list[str]:
    """The levels of a factor that some arm has, each once."""
    return [level for level in dict.fromkeys(levels) if any(arm.levels[factor] == level for arm in arms)]
