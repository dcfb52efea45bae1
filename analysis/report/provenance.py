"""What made a committed study: commit, packages, machine, time, bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.study.contrasts import what_varies
from analysis.study.load import Study
from harness.records import records


def provenance(study: Study, read: Mapping[str, records.RunRecord], command: str) -> dict[str, Any]:
    """What made it, and what varies: each distinct value once."""
    runs = list(read.values())
    return {
        "study": study.name,
        "command": study.record.command,
        "report_command": command,
        "task_version": _distinct(study.evaluations.get("task_version", ())),  # of the grader
        **_code_and_machine(runs),
        "runs": study.runs["status"].value_counts().to_dict(),
        **_time_spent(runs),
        "what_varies": what_varies(study),
        "bases_from": "one base for all seeds" if study.record.shared_base else "a base for each seed",
        "bases": [_base(study, name) for name in sorted({r.base_id for r in runs if r.base_id})],
    }


def _code_and_machine(runs: Sequence[records.RunRecord]) -> dict[str, Any]:
    return {
        "commit": _distinct(r.code.get("commit") for r in runs),
        "dirty": any(r.code.get("dirty") for r in runs),
        "packages": _distinct(r.packages for r in runs),
        "hardware": _distinct({k: v for k, v in r.hardware.items() if k != "platform"} for r in runs),
    }


def _time_spent(runs: Sequence[records.RunRecord]) -> dict[str, Any]:
    return {
        "seconds_of_all_runs": sum(float(s) for r in runs for s in r.seconds.values()),
        "gpu_seconds_of_all_runs": sum(r.gpu_seconds for r in runs),
        "first_started": min((r.started for r in runs), default=None),
        "last_finished": max((r.finished for r in runs if r.finished), default=None),
    }


def _base(study: Study, base_id: str) -> dict[str, Any]:
    """A base's cost and commit; a pretrained model leaves no record but its name, which holds its hash."""
    try:
        base = records.read_base(study.folder.parent / records.BASES / base_id)
    except records.RecordError:
        return {"base_id": base_id}
    names = (
        "base_id",
        "num_parameters",
        "num_non_embedding_parameters",
        "tokens",
        "flops",
        "seconds",
        "final_loss",
        "steps",
        "accuracy",
    )
    return {name: getattr(base, name) for name in names} | {"commit": base.code.get("commit")}


def _distinct(values: Any) -> Any:
    """The one value, or the list of different ones in their order."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found[0] if len(found) == 1 else found
