"""Records of tasks that lm-eval ran by itself on a base or checkpoint:
<run or base>/lm_eval/<checkpoint>-<key>/<task>.json. Imports no lm-eval."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from harness.records.fields import Count
from harness.records.records import Record, again, read_record

FOLDER = "lm_eval"


class LmEvalRecord(Record):
    """One task or group on one checkpoint. `results` are lm-eval's own, by task and `metric,filter`.

    `scores` are those by document, of tasks alone, where a metric has one number a document; `documents`
    is a digest of lm-eval's hashes of them, `num_documents` their number. `higher_is_better` is by metric.
    """

    key: str
    task: str
    checkpoint: str
    step: Count
    run_id: str | None
    base_id: str | None
    limit: Count | None
    num_fewshot: Count | None
    chat_template: bool
    results: dict[str, dict[str, float]]
    higher_is_better: dict[str, dict[str, bool]] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    scores: dict[str, dict[str, list[float]]] = Field(default_factory=dict)
    documents: dict[str, str]
    num_documents: dict[str, Count]
    seconds: float
    lm_eval_version: str


def lm_eval_path(folder: Path, checkpoint: str, key: str, task: str) -> Path:
    """Path of a checkpoint's record, of the run or base in `folder`."""
    return folder / FOLDER / f"{checkpoint}-{key}" / f"{task}.json"


def lm_eval_paths(folder: Path) -> list[Path]:
    """Records of a run or a base, by checkpoint and task."""
    return sorted(p for p in folder.glob(f"{FOLDER}/*/*.json") if not p.name.startswith("."))


def read_lm_eval(path: Path) -> LmEvalRecord:
    """Raises RecordError as `read_run` does."""
    return read_record(path, LmEvalRecord, again(path))
