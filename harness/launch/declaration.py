"""Writes what a study declares, before its first run. Imports no torch."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.launch.draws import pairing
from harness.launch.expand import Sweep
from harness.launch.levels import labels_of
from harness.launch.plan import arm_label
from harness.records.code_state import code_state
from harness.records.declarations import FILE, Declaration, Entry, content_hash, read_declaration
from harness.records.reading import RecordError
from harness.records.records import read_run, run_folders, write_record

RULES = ("family", "nulls", "ceiling", "margin", "checkpoint", "lr_grid", "fixed", "draws", "match")
PROTOCOL = ("splits", "k", "temperature", "top_p", "max_new_tokens", "greedy", "at_steps", "benchmarks")


def declare(sweep: Sweep, folder: Path) -> None:
    """Write declaration.json, or add an entry to it where this launch declares something else.

    Nothing is written for a sweep without an ablation. A damaged file is kept beside the new one, whose first
    entry then says how many runs there were.
    """
    if sweep.spec is None:
        return
    earlier = _earlier(folder)
    content = _content(sweep, earlier[-1].content if earlier else {})
    if earlier and earlier[-1].content == content:
        return
    statuses = _statuses(folder)
    entry = Entry(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=code_state()["commit"],
        runs_started=len(statuses),
        runs_finished=statuses.count("finished"),
        sha256=content_hash(content),
        content=content,
    )
    write_record(folder / FILE, Declaration(entries=[*earlier, entry]))
    if earlier:
        said = f"declares something else than before, after {entry.runs_finished} finished runs"
        print(f"warning: {folder / FILE}: this launch {said}; the report lists it", file=sys.stderr)


def _content(sweep: Sweep, earlier: dict[str, Any]) -> dict[str, Any]:
    """What is declared: levels and seeds of the ablation's file, and those that launches added to them."""
    spec = sweep.spec
    assert spec is not None
    planned = {name: labels for name, labels in labels_of(spec).items() if name in sweep.factors}
    levels = {
        name: list(
            dict.fromkeys([*(earlier.get("factors") or {}).get(name, []), *planned.get(name, []), *run])
        )
        for name, run in sweep.factors.items()
    }
    # Rules at their default are absent, so that one which a later version adds is no other declaration.
    rules = spec.model_dump(mode="json", include=set(RULES), exclude_defaults=True)
    settings = sweep.jobs[0].config.eval.model_dump(mode="json")
    # Seeds that a declared rule adds are no other declaration.
    seeds = (
        {*spec.seeds, *sweep.seeds}
        if (by_rule := spec.seed_rule) is None
        else {*by_rule.seeds[: by_rule.first]}
    )
    content = {
        "question": spec.question,
        "factors": levels,
        "seeds": sorted({*seeds, *earlier.get("seeds", [])}),
        "control": spec.control or sweep.control,
        "primary": sweep.primary,
        **rules,
        **({"until": by_rule.model_dump(exclude_none=True)} if by_rule else {}),
        "base_seed": spec.base_seed,
        "pairing": pairing(spec.draws, shared_base=sweep.shared_base),
        "evaluation": {name: settings[name] for name in PROTOCOL if name in settings},
        "steps": sorted({job.config.trainer.steps for job in sweep.runs}),
    }
    if stages := _stages(sweep):  # absent without pipelines, as before there were any
        content["stages"] = {**(earlier.get("stages") or {}), **stages}
    return dict(json.loads(json.dumps(content)))  # as it is read back, so that both are compared alike


def _stages(sweep: Sweep) -> dict[str, list[str]]:
    """The stages of each arm that is a pipeline, in order: name, objective, data and steps of each."""
    return {
        arm_label(job.levels): [
            f"{stage.config.stage.name}: {stage.config.objective.name} on {stage.config.data.name}, "
            f"trainer.steps={stage.config.trainer.steps}"
            for stage in job.stages
            if stage.config.stage is not None
        ]
        for job in sweep.jobs
        if job.config.stage is not None
    }


def _earlier(folder: Path) -> list[Entry]:
    try:
        found = read_declaration(folder)
        return found.entries if found else []
    except RecordError as error:
        path = folder / FILE
        aside = path.with_name(f"{FILE}.damaged")
        os.replace(path, aside)
        print(f"warning: {error.what}; it is {aside.name} now", file=sys.stderr)
        return []


def _statuses(folder: Path) -> list[str]:
    """The status of every run of the folder; a run that cannot be read has started."""
    found = []
    for place in run_folders(folder) if folder.is_dir() else []:
        try:
            found.append(str(read_run(place).status))
        except RecordError:
            found.append("damaged")
    return found
