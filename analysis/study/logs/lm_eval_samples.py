"""Read what `lm_eval --log_samples --output_path` writes: samples_TASK_DATE.jsonl, results_DATE.json beside.

A line is a document under one filter; a metric is named as in lm-eval's results, `exact_match,strict-match`.
Documents pair by `doc_hash`, lm-eval's hash of the whole document, so that order and limit do not matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from analysis.study.logs.rows import (
    Log,
    LogRow,
    Occurrences,
    chosen_metric,
    digest_of,
    json_lines,
    part_of,
    score_of,
)

TOOL = "lm-eval"
PATTERN = "samples_*.jsonl"
_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)")


def read_lm_eval(path: Path, *, metrics: Sequence[str], tasks: Sequence[str]) -> Log:
    """One file of samples, or a folder of one evaluation. Raises ValueError for two logs of one task."""
    files: dict[str, Path] = {}
    for file in [path] if path.is_file() else sorted(path.rglob(PATTERN)):
        task = _task(file)
        if tasks and task not in tasks:
            continue
        if task in files:
            raise ValueError(
                f"{path}: two logs of task {task}, {files[task].name} and {file.name}; name one file"
            )
        files[task] = file
    rows, settings, notes = [], {}, []
    for task, file in files.items():
        rows += _rows(task, file, metrics)
        settings[task] = _settings(task, file)
        if not settings[task]:
            notes.append(f"{file}: no results file beside it, so its protocol is not compared")
    return Log(path, TOOL, rows, settings, notes)


def _task(file: Path) -> str:
    found = _NAME.fullmatch(file.stem)
    return found["task"] if found else file.stem.removeprefix("samples_")


def _rows(task: str, file: Path, metrics: Sequence[str]) -> list[LogRow]:
    read = list(json_lines(file))
    if missing := next((where for where, row in read if "doc" not in row or "metrics" not in row), None):
        raise ValueError(f"{missing}: no doc or metrics; write it with lm_eval --log_samples")
    names = {f"{metric},{row.get('filter', 'none')}": None for _, row in read for metric in row["metrics"]}
    metric, _, chosen = chosen_metric(list(names), metrics, f"{file}, task {task}").rpartition(",")
    keys = Occurrences()
    return [
        LogRow(
            task=task,
            problem=keys.key(task, row.get("doc_hash") or digest_of(row["doc"]), row.get("doc_id")),
            score=score_of(row.get(metric), f"{where}: {metric}"),
            reference=row.get("target_hash") or digest_of(row.get("target")),
            prompt=row.get("prompt_hash"),
        )
        for where, row in read
        if row.get("filter", "none") == chosen
    ]


def _settings(task: str, file: Path) -> dict[str, str]:
    """Version, shots, sampling and template of the task, from the results of the same run; empty without."""
    found = _NAME.fullmatch(file.stem)
    results = file.with_name(f"results_{found['date']}.json") if found else file
    if not found or not results.is_file():
        return {}
    try:
        read = json.loads(results.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{results}: not valid JSON ({error})") from None
    config, ours = part_of(read, "config"), part_of(part_of(read, "configs"), task)
    known = {
        "task version": part_of(read, "versions").get(task),
        "number of shots": part_of(read, "n-shot").get(task),
        "limit": config.get("limit"),
        "generation settings": {**part_of(ours, "generation_kwargs"), **part_of(config, "gen_kwargs")},
        "chat template": read.get("chat_template_sha"),
        "system instruction": read.get("system_instruction_sha"),
        "lm-eval version": read.get("lm_eval_version"),
    }
    return {name: json.dumps(value, sort_keys=True) for name, value in known.items()}
