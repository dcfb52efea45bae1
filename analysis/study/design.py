"""Checks of the design: missing seeds, mixed code or data, undeclared differences between arms."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from analysis.study.configs import differing_keys, problems_of, varying_keys
from analysis.study.contrasts import METRICS, control_of, final_rows, has, primary_factor, primary_of
from analysis.study.differences import config_differences
from analysis.study.load import Study, seed_order
from analysis.study.looks import by_hand_text
from analysis.study.rates import choice_notes
from analysis.study.stages import earlier_stages, stage_rate_notes
from analysis.study.unmatched import unmatched_notes
from harness.records.records import Arm

if TYPE_CHECKING:
    import pandas as pd

BASE_KEYS = ("model.", "corpus", "data.", "dtype")  # of a config, those that may change the base


def design_notes(study: Study) -> list[str]:
    """Missing seeds, undeclared differences, mixed code, data or devices: one line each."""
    checks = (
        _missing_seeds,
        _seeds_by_hand,
        _absent_levels,
        _unevaluated,
        _missing_steps,
        _unplanned,
        _edges,
        stage_rate_notes,
        _cut_short,
        _other_bases,
        _mixed_versions,
        unmatched_notes,
        _mixed_protocols,
        _mixed_within,
        _other_protocols,
        _undeclared,
    )
    chosen = choice_notes(study.record, study.choices)
    return [*study.record.notes, *chosen, *(note for check in checks for note in check(study))]


def _missing_seeds(study: Study) -> list[str]:
    """Arms without a finished run for a planned seed."""
    notes, planned = [], {str(s) for s in study.record.seeds}
    for arm in study.record.arms:
        runs = study.finished[study.finished["arm"] == arm.label]
        said = {c.seed for c in study.choices if c.arm == arm.label and c.missing}
        if missing := sorted(planned - said - {str(s) for s in runs["seed"]}, key=seed_order):
            notes.append(f"{arm.label}: no finished run for seed {', '.join(missing)} (unbalanced design)")
    return notes


def _seeds_by_hand(study: Study) -> list[str]:
    """Seeds that no declared rule added, after runs had finished."""
    return [note] if (note := by_hand_text(study.folder, study.record.seeds)) else []


def _absent_levels(study: Study) -> list[str]:
    """Declared levels that were not run."""
    absent = study.record.declared.get("absent") or {}
    return [
        f"of the declared levels of {factor} not run: {', '.join(levels)}"
        for factor, levels in absent.items()
    ]


def _mixed_versions(study: Study) -> list[str]:
    """Runs of several commits, devices, record versions or data versions, or with uncommitted code."""
    notes = _several(study.runs, "commit", "commits")
    if "earlier_commits" in study.runs:
        begun = study.runs.loc[study.runs["earlier_commits"].str.len() > 0, "run_id"]
        notes += [f"{run}: begun by another commit than it ended with" for run in begun]
    notes += _several_devices(study.runs)
    notes += _several(study.runs, "schema_version", "versions of the records' schema")
    for arms in _arms_by_data(study):
        mine = study.runs[study.runs["arm"].isin(arms)]
        own = study.record.declared.get("draws") == "per_seed"
        for _, rows in mine.groupby("seed") if own else [("", mine)]:
            notes += _several(rows, "data_hash", "data versions")
    if "dirty" in study.runs and (study.runs["dirty"] == True).any():  # noqa: E712
        notes.append("some runs were made with uncommitted changes in the code")
    return notes


def _mixed_protocols(study: Study) -> list[str]:
    """Evaluations of several k, or by several versions of the grader."""
    notes = []
    if not study.evaluations.empty and study.evaluations.groupby("task")["k"].nunique().max() > 1:
        notes.append("evaluations differ in k; maj@k and pass@k are not comparable between them")
    for note in _several(study.evaluations, "task_version", "versions of the grader", of="evaluations"):
        notes.append(f"{note}; `python -m harness.evaluation.regrade {study.folder} --write` makes them one")
    return notes


def _undeclared(study: Study) -> list[str]:
    """Arms that differ from their control in more than the declared factors."""
    return [
        f"{d.arm} differs from {d.other} in more than the declared factor: {', '.join(d.undeclared)}"
        for d in config_differences(study)
        if d.undeclared and study.record.command  # one made by hand says which arms are comparable itself
    ]


def _several(rows: pd.DataFrame, column: str, what: str, *, of: str = "runs") -> list[str]:
    found = list(rows[column].dropna()) if column in rows else []
    values = sorted({f"{v:g}" if isinstance(v, float) else str(v) for v in found})
    if len(values) < 2:
        return []
    return [f"{of} come from {len(values)} {what}: {', '.join(v[:12] for v in values)}"]


def _several_devices(runs: pd.DataFrame) -> list[str]:
    """Kinds of device, and whether every seed kept to one of them, as differences are taken by seed."""
    notes = _several(runs, "device", "kinds of device")
    if notes and (runs.groupby("seed")["device"].nunique() < 2).all():
        notes[0] += "; all runs of a seed are of one, so no difference between arms holds it"
    return notes


def _arms_by_data(study: Study) -> list[list[str]]:
    """Group arms that ask for the same data."""
    asked: dict[tuple[str, ...], list[str]] = {}
    for arm in study.record.arms:
        of_data = (x for x in arm.overrides if x.startswith(("data=", "data.", "pipeline", "stage=")))
        asked.setdefault(tuple(sorted(of_data)), []).append(arm.label)
    return list(asked.values())


def _unevaluated(study: Study) -> list[str]:
    """Finished runs whose checkpoint has no readable evaluation of the primary task."""
    try:
        task = primary_of(study).task
    except ValueError:
        return []
    frame = study.evaluations[study.evaluations["task"] == task]
    seen = set(zip(frame["run_id"], frame["step"], strict=True))
    where = f"its last step was not evaluated on {task}"
    if study.record.declared.get("checkpoint") == "validation":
        where = f"no checkpoint of it was evaluated on both validation and {task}"
    return [
        f"{run}: finished, but {where}; it is in no table of accuracies"
        for run, step in zip(study.finished["run_id"], study.finished["checkpoint"], strict=True)
        if (run, step) not in seen
    ] + _incomplete(study, task)


def _incomplete(study: Study, task: str) -> list[str]:
    """Evaluated runs that lack the primary metric, or their base's evaluation: tables have fewer seeds."""
    metric, found = primary_of(study).metric, dict[str, list[str]]()
    for arm in study.record.arms:
        rows, base = (final_rows(study, arm.label, task, base=b) for b in (False, True))
        without = [s for s, row in rows.items() if not has(row, metric)]
        lacking = [s for s in rows if s not in base or not has(base[s], metric)]
        said = (
            (without, f"{METRICS[metric]} was not measured for"),
            (
                lacking,
                f"no gain over the base, which was not evaluated on {task} under the same protocol, for",
            ),
        )
        for seeds, what in said:
            if seeds:
                which = "any seed" if len(seeds) == len(rows) else f"seed {', '.join(seeds)}"
                found.setdefault(f"{what} {which}", []).append(arm.label)
    return [f"{'; '.join(arms)}: {what}" for what, arms in found.items()]


def _missing_steps(study: Study) -> list[str]:
    """Runs whose metrics.jsonl lacks steps: up to the last of a finished run, else up to the newest there."""
    if "steps_done" not in study.runs:
        return []
    steps = study.steps
    by_run = steps.groupby(steps["run_id"].astype(str))["step"] if len(steps) else ()
    there = {run: sorted(own) for run, own in by_run}
    notes = []
    for row in study.runs[study.runs["steps_done"].notna()].to_dict("records"):
        own = there.get(row["run_id"], [])
        last = int(row["steps_done"]) if row["status"] == "finished" else max(own, default=0)
        ends = [0, *(step for step in own if step <= last), last + 1]
        gaps = [(a + 1, b - 1) for a, b in pairwise(ends) if b - a > 1]
        if gaps:
            said = ", ".join(f"{first}" if first == end else f"{first}–{end}" for first, end in gaps[:5])
            said += " and more" if len(gaps) > 5 else ""
            what = f"metrics.jsonl lacks step {said} of {last}"
            again = f"; delete {study.folder / row['run_id']} and launch again to train it anew"
            mend = again if row["status"] == "finished" else ""
            notes.append(f"{row['run_id']}: {what}; curves, and what was kept, leave them out{mend}")
    return notes


def _unplanned(study: Study) -> list[str]:
    """Run folders that no arm of the study plans: their runs are in no table but that of runs."""
    apart = study.runs["arm"].isna()
    if "tried_by" in study.runs:
        apart &= study.runs["tried_by"].isna()
    apart &= ~study.runs["run_id"].isin(earlier_stages(study))
    names = [str(name) for name in study.runs[apart]["run_id"]]
    if not names:
        return []
    what = "a run folder is" if len(names) == 1 else f"{len(names)} run folders are"
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return [f"{what} in no arm of the study, and in no table of arms: {shown}"]


def _cut_short(study: Study) -> list[str]:
    """Runs that say finished with fewer steps than their config asks for; offline ones ask by epochs."""
    notes = []
    for row in study.finished.to_dict("records"):
        config = study.configs.get(row["run_id"], {})
        asked, offline = config.get("trainer.steps"), "objective.offline.epochs" in config
        if isinstance(asked, int) and not offline and row["steps_done"] < asked:
            notes.append(f"{row['run_id']}: finished after {row['steps_done']:g} of {asked:g} steps")
    return notes


def _other_bases(study: Study) -> list[str]:
    """Seeds at which an arm started from another base than its control, though their configs ask for one."""
    notes, bases = [], dict(zip(study.runs["run_id"], study.runs.get("base_id", ()), strict=False))
    arms = {arm.label: arm for arm in study.record.arms}
    for arm in study.record.arms:
        control = control_of(study, arm.levels, primary_factor(study))
        pairs = {s: (run, arms[control].runs.get(s)) for s, run in arm.runs.items()} if control else {}
        seeds = [
            s
            for s, (a, b) in pairs.items()
            if a in study.configs
            and b in study.configs
            and bases[a] != bases[b]
            and not any(k.startswith(BASE_KEYS) for k in differing_keys(study.configs[a], study.configs[b]))
        ]
        if seeds:
            notes.append(f"{arm.label} started from another base than {control} at seed {', '.join(seeds)}")
    return notes


def _edges(study: Study) -> list[str]:
    """Arms whose learning rate is the smallest or largest of the grid, or one of a tie."""
    said = {
        "edge": "learning rate at the edge of its grid, so that a better one may lie beyond",
        "tied": "learning rate not told from others by the pilot, a tie on validation",
    }
    found = {k: [f"{c['arm']} ({c['chosen']:g})" for c in study.record.pilot if c.get(k)] for k in said}
    return [f"{said[k]}: {'; '.join(arms)}" for k, arms in found.items() if arms]


def _mixed_within(study: Study) -> list[str]:
    """Arms whose own runs differ in more than seeds."""
    notes = []
    for arm in study.record.arms:
        configs = [study.configs[run] for run in arm.runs.values() if run in study.configs]
        if keys := [key for key in varying_keys(configs) if key not in _own_of_seeds(study, arm)]:
            notes.append(f"runs of {arm.label} differ among themselves in more than seeds: {', '.join(keys)}")
    return notes


def _own_of_seeds(study: Study, arm: Arm) -> set[str]:
    """Keys that differ between the seeds of an arm by design."""
    draws = study.record.declared.get("draws") == "per_seed"
    data = {key for config in study.configs.values() for key in config if key.endswith(".data_seed")}
    return ({"trainer.lr"} if arm.rates else set()) | (data if draws else set())


def _other_protocols(study: Study) -> list[str]:
    """Arms measured on the primary task with other sampling, template or problems than the first arm."""
    try:
        task = primary_of(study).task
    except ValueError:
        return []
    rows = {arm.label: final_rows(study, arm.label, task) for arm in study.record.arms}
    notes = []
    for what, of, by_seed in (
        ("another protocol", lambda row: row["protocol"], False),
        ("other problems", problems_of, True),  # a seed's, for each may have its own
    ):
        first: dict[str, Any] = {}
        others = []
        for label, found in rows.items():
            seen = [(seed if by_seed else "", of(row)) for seed, row in found.items()]
            if any(first.setdefault(at, value) != value for at, value in seen):
                others.append(label)
        if others:
            notes.append(
                f"evaluated on {task} under {what} than the first arm: {', '.join(others)}; a "
                "difference to it is not one of training alone"
            )
            if by_seed:
                notes[-1] += ", and seeds whose problems differ are in no difference"
    return notes
