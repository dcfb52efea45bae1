"""Records of searches on a base or checkpoint: <run or base>/search/<checkpoint>-<key>/<task>.json.

Beside one stand the outputs chosen at the largest budget (<task>.samples.jsonl.gz) and, where they were asked
for, trees (<task>.trees.jsonl.gz): a line a problem, with `nodes`, each with the place of its `parent` (None:
the root), its step's `text`, `visits`, `value`, and whether it ends a `complete` output.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.records.fields import Bit, Count
from harness.records.published import DIFFERS
from harness.records.reading import RecordError, read_file
from harness.records.records import Record, again, read_record, samples_of

FOLDER = "search"


class SearchRecord(Record):
    """One search on one split of one checkpoint. Lists are [budget][problem], in the order of `budgets`.

    `label` is what tables call the search. `uses_reference`: its values come from the reference answers (the
    oracle), so it is a ceiling and no method. `tokens` were spent on a problem by then, its prompt apart, on
    `outputs` complete outputs, of which `any_right` says whether one is right and `correct` whether the
    chosen one is. `num_nodes` and `depth` [problem] are sizes of the whole tree; `sampled_tokens` is what was
    decoded in all, beyond the largest budget too.
    """

    key: str
    task: str
    split: str
    label: str
    fn: str
    value: str
    search: dict[str, Any]
    uses_reference: bool
    checkpoint: str
    step: Count
    run_id: str | None
    base_id: str | None
    temperature: float
    top_p: float
    max_new_tokens: Count
    eval_sampling_seed: int
    n_problems: Count
    problem_ids: list[str]
    topics: list[str | None] = Field(default_factory=list)
    levels: list[int | None] = Field(default_factory=list)
    budgets: list[Count]
    correct: list[list[Bit]]
    any_right: list[list[Bit]]
    tokens: list[list[Count]]
    outputs: list[list[Count]]
    num_nodes: list[Count]
    depth: list[Count]
    sampled_tokens: Count
    seconds: float
    samples_sha256: str | None = None


def search_path(folder: Path, checkpoint: str, key: str, task: str) -> Path:
    """Path of a checkpoint's record, of the run or base in `folder`."""
    return folder / FOLDER / f"{checkpoint}-{key}" / f"{task}.json"


def search_paths(folder: Path) -> list[Path]:
    """Records of a run or a base, by checkpoint and task."""
    return sorted(p for p in folder.glob(f"{FOLDER}/*/*.json") if not p.name.startswith("."))


def trees_of(path: Path) -> Path:
    """Trees of a search, by its record's path."""
    return path.with_suffix(".trees.jsonl.gz")


def read_search(path: Path) -> SearchRecord:
    """Raises RecordError as `read_run` does."""
    return read_record(path, SearchRecord, again(path))


def read_whole_search(path: Path) -> SearchRecord:
    """`read_search`, where the chosen outputs are the record's, and the trees that it asked for are there."""
    record, samples, trees = read_search(path), samples_of(path), trees_of(path)
    if hashlib.sha256(read_file(samples, remedy=again(path))).hexdigest() != record.samples_sha256:
        raise RecordError(f"{samples}: {DIFFERS}", again(path))
    if record.search.get("trees") and not trees.exists():
        raise RecordError(f"{trees}: no such file", again(path))
    return record
