"""A report of SWE-bench's official harness as an EvalRecord. Its form is the one that its source writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.stats.intervals import paired_t, wilson
from harness.evaluation.eval_metrics import Scored, record_fields
from harness.grading.score import Score
from harness.identity import digest
from harness.records.records import EvalRecord
from harness.types import Problem, Rollout

TASK, TASK_VERSION = "swebench_verified", 1.0
PROTOCOL = "protocol.json"


def predictions_path(out: Path, seed: int) -> Path:
    return out / f"predictions.seed{seed}.jsonl"


def patches_of(path: Path) -> dict[str, str]:
    """Instance -> patch, of a file of predictions."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {row["instance_id"]: row["model_patch"] for row in rows}


def read_report(path: Path) -> dict[str, Any]:
    """A run's report of the official harness (its schema_version 2). Raises ValueError for anything else."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        sets = {name: set(report[f"{name}_ids"]) for name in ("submitted", "resolved", "incomplete")}
        total = int(report["total_instances"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: not a report of the official harness ({error}); give its JSON file"
        ) from None
    if report.get("schema_version") != 2:
        raise ValueError(f"{path}: schema_version={report.get('schema_version')}; version 2 is read")
    if sets["resolved"] - sets["submitted"] or len(sets["submitted"] | sets["incomplete"]) != total:
        raise ValueError(f"{path}: its ids do not add up to total_instances={total}; take the whole report")
    return {**sets, "all": sets["submitted"] | sets["incomplete"]}


def eval_record(out: Path, reports: Sequence[Path]) -> EvalRecord:
    """The record of the predictions in `out`, a report for each seed in their order.

    A problem counts as right if it is resolved; without a prediction it is not. Beside the usual metrics
    there are Wilson's interval of the share over problems, and Student's t over seeds where there are three.
    Raises ValueError for reports of other problems or predictions.
    """
    protocol = json.loads((out / PROTOCOL).read_text(encoding="utf-8"))
    seeds = protocol["seeds"]
    if len(reports) != len(seeds):
        raise ValueError(f"{len(reports)} reports for seeds={seeds}; give one for each, in this order")
    found = [read_report(path) for path in reports]
    patches = [patches_of(predictions_path(out, seed)) for seed in seeds]
    names = sorted(found[0]["all"])
    for path, report, mine in zip(reports, found, patches, strict=True):
        if sorted(report["all"]) != names or report["submitted"] != set(mine):
            raise ValueError(
                f"{path}: of other problems or predictions than {out}; give the reports of these"
            )
    rows = [
        _scored(name, [name in r["resolved"] for r in found], [p.get(name, "") for p in patches])
        for name in names
    ]
    fields = record_fields(rows, None)
    fields["metrics"] = _with_intervals(fields["metrics"], found, len(names))
    key = digest({k: v for k, v in protocol.items() if k != "seconds"})
    return EvalRecord(
        key=key,
        task=TASK,
        task_version=TASK_VERSION,
        split="test",
        template="chat" if protocol["apply_chat_template"] else "question",
        checkpoint=f"{protocol['model'].replace('/', '_')}-{key}",
        step=0,
        run_id=None,
        base_id=None,
        temperature=protocol["temperature"],
        top_p=protocol["top_p"],
        max_new_tokens=protocol["max_new_tokens"],
        eval_sampling_seed=seeds[0],
        seconds=protocol["seconds"],
        lm_eval_version=version("lm_eval"),
        length_unit="words",
        **fields,
    )


def _scored(name: str, resolved: Sequence[bool], patches: Sequence[str]) -> Scored:
    """One problem's patches: a vote is a patch's hash, a length its words."""
    hashes = [hashlib.sha256(p.encode()).hexdigest()[:16] if p else None for p in patches]
    scores = [Score(right, vote, "report", vote, 0, 0) for right, vote in zip(resolved, hashes, strict=True)]
    problem = Problem(name, TASK, "test", "", "resolved", topic=name.rpartition("-")[0].replace("__", "/"))
    rollouts = [
        Rollout(name, i, tuple(range(len(p.split()))), p, None, "stop") for i, p in enumerate(patches)
    ]
    return Scored(problem, tuple(rollouts), tuple(scores))


def _with_intervals(
    metrics: Mapping[str, float], reports: Sequence[Mapping[str, Any]], number: int
) -> dict[str, float]:
    kept = {name: x for name, x in metrics.items() if "truncated" not in name and "direct" not in name}
    kept["wilson_low"], kept["wilson_high"] = wilson(metrics["avg_at_k"], number)
    over_seeds = paired_t([len(report["resolved"]) / number for report in reports])
    if over_seeds.low is not None and over_seeds.high is not None:
        kept["seeds_low"], kept["seeds_high"] = over_seeds.low, over_seeds.high
    return kept
