"""The files of a run: run.json, metrics.jsonl, evaluation records and samples. Imports no torch.

    outputs/<study>/study.json                         the ablation: question, factors, arms, which runs
    outputs/<study>/<run_id>/config.yaml               the resolved config
    outputs/<study>/<run_id>/run.json                  RunRecord: status, seeds, versions, hardware, compute
    outputs/<study>/<run_id>/metrics.jsonl             one line an optimiser step (+ metrics.jsonl.sha256)
    outputs/<study>/<run_id>/eval/<checkpoint>/<task>.json (+ <task>.samples.jsonl.gz)      EvalRecord
    outputs/<study>/<run_id>/lm_eval/<checkpoint>/<task>.json            LmEvalRecord (lm_eval.py)
    outputs/bases/<base_id>/             base.json, the weights, and eval/ and lm_eval/ of the base itself
Files are replaced atomically: a reader sees the old one or the new one.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from harness.records.fields import Bit, Code, Count, Declared, FolderName, PilotRow, Primary, Rate, Seed
from harness.records.published import BASES as BASES
from harness.records.published import DIFFERS, replacing, seal
from harness.records.reading import RecordError, read_file, read_json

SCHEMA_VERSION = 1
GENERATED = ("aime_gen", "general", "code_gen")  # datasets that a program makes; their tasks' names begin so
Status = Literal["running", "finished", "failed", "interrupted"]
T = TypeVar("T", bound="Record")


class NewerRecord(RecordError):
    """A record that a newer version of this program wrote: whole, and not to be overwritten."""


class Record(BaseModel):
    model_config = ConfigDict(extra="allow")
    schema_version: int = SCHEMA_VERSION


class RunRecord(Record):
    """One run. `seconds`, `flops` and `peak_memory` (bytes) are by phase, `tokens` by use.

    `eval_keys` names each task's last protocol: evaluations under an earlier one are not the run's result.
    `sampling_keys` names the protocols of `eval.temperatures`, by temperature and top_p.
    """

    run_id: str
    study: str
    status: Status
    reason: str | None = None
    config: dict[str, Any]
    overrides: list[str] = Field(default_factory=list)
    seeds: dict[str, int]
    base_id: FolderName | None = None
    teacher_id: FolderName | None = None  # base of a teacher that was made here
    data_hash: str
    code: Code
    packages: dict[str, str]
    hardware: dict[str, Any]
    nondeterminism: str | None = None
    started: str
    finished: str | None = None
    steps_done: Count = 0
    num_resumes: Count = 0
    tokens: dict[str, Count] = Field(default_factory=dict)
    flops: dict[str, float] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    gpu_seconds: float = 0.0
    base_seconds: float = 0.0  # to make and evaluate the base, which runs share: in no phase
    waited_seconds: float = 0.0  # of all these, waiting for a core that other programs had
    peak_memory_bytes: Count = 0
    peak_memory: dict[str, Count] = Field(default_factory=dict)
    rates: dict[str, float] = Field(default_factory=dict)
    flags: list[str] = Field(default_factory=list)
    unmatched: list[str] = Field(
        default_factory=list
    )  # what another engine did otherwise than this project's
    eval_keys: dict[str, str] = Field(default_factory=dict)
    sampling_keys: dict[str, str] = Field(default_factory=dict)
    wandb_id: str | None = None


class BaseRecord(Record):
    """A pretrained base: what made it and what it cost."""

    base_id: str
    identity: dict[str, Any]
    num_parameters: Count
    num_non_embedding_parameters: Count
    tokens: Count
    flops: float
    seconds: float
    waited_seconds: float = 0.0  # of these, waiting for a core that other programs had
    final_loss: float
    code: dict[str, Any]
    steps: Count | None = None  # taken until `accuracy`, greedy on validation; None: a fixed number
    accuracy: float | None = None


class EvalRecord(Record):
    """One task on one checkpoint. Lists are [problem][sample]; `greedy_*` are [problem] (None: not run).

    `answers` are the grader's equivalence classes (None: nothing extracted); `stepped` says whether a
    derivation has at least one checkable step. `num_steps`, `num_wrong_steps` and `num_unsourced_steps` (with
    an operand that is neither in the problem nor an earlier result) count them. Of problems of several parts,
    `valid_chains` marks samples that are right by a chain through every part, `templates` names derivations
    with their numbers blotted out, and `base_logprobs` has log p(completion) of valid chains under the base.
    `metrics` has its numbers with both standard errors; `best_constant` is the accuracy of the best constant
    answer.
    """

    key: str
    task: str
    task_version: float
    split: str
    template: str | None = None
    checkpoint: str
    step: Count
    run_id: str | None
    base_id: str | None
    n_problems: Count
    samples_sha256: str | None = None  # of the completions' file; early records do not say
    sampled_from: Count | None = None  # the benchmark's problems that these n were drawn from; None: all
    k: Count
    temperature: float
    top_p: float
    max_new_tokens: Count
    eval_sampling_seed: int
    problem_ids: list[str]
    pair_ids: list[str | None]
    topics: list[str | None]
    levels: list[int | None]
    correct: list[list[Bit]]
    answers: list[list[str | None]]
    stepped: list[list[Bit]]
    num_steps: list[list[Count]]
    num_wrong_steps: list[list[Count]]
    num_unsourced_steps: list[list[Count]] | None = None  # early records, and problems without a text: None
    valid_chains: list[list[Bit]] | None = None  # these three: None for other problems, and in early records
    templates: list[list[str | None]] | None = None
    base_logprobs: list[list[float | None]] | None = None  # nats, of logits / temperature
    lengths: list[list[Count]]
    length_unit: Literal["tokens", "words"] = "tokens"
    truncated: list[list[Bit]]
    greedy_correct: list[Bit] | None = None
    greedy_lengths: list[Count] | None = None
    rerank_scores: dict[str, list[list[float]]] = Field(default_factory=dict)  # by reward model
    best_constant: float
    best_constant_answer: str
    metrics: dict[str, float]
    seconds: float
    lm_eval_version: str


class Arm(BaseModel):
    """One cell of an ablation: its factor levels, and the run of each seed.

    Where every learning rate of a grid runs at every seed, `rates` has them all by rate, and `runs` is what
    the analysis fills in: for each seed the run whose rate was best on that seed's validation.
    """

    label: str
    levels: dict[str, str]
    overrides: list[str]
    runs: dict[Seed, FolderName] = Field(default_factory=dict)  # seed -> run_id
    rates: dict[Rate, dict[Seed, FolderName]] = Field(default_factory=dict)  # rate -> seed -> run_id


class StudyRecord(Record):
    """An ablation as planned. `control` gives the level of each factor that differences are taken against."""

    study: str
    question: str
    factors: dict[str, list[str]]
    seeds: list[Count]
    control: dict[str, str]
    arms: list[Arm]
    shared_base: bool
    primary: Primary = Field(default_factory=dict)
    declared: Declared = Field(default_factory=dict)
    pilot: list[PilotRow] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    command: str


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a JSON file atomically, with a checksum; a full disk leaves the old one intact."""
    kept = {name: item for name, item in value.items() if name != "checksum"}
    write_text(path, seal(json.dumps(clean(kept), indent=1, allow_nan=False) + "\n"))


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically: a reader, and a machine that lost power, has the old or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def clean(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by the strings "nan", "inf", "-inf"; see `number`."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value


def number(value: Any) -> Any:
    """Read back the strings that `clean` writes."""
    return float(value) if value in ("nan", "inf", "-inf") else value


def read_record(path: Path, kind: type[T], remedy: str) -> T:
    try:
        record = read_json(path, kind, remedy=remedy)
    except RecordError as error:
        _refuse_newer(path, error)
        raise
    if record.schema_version > SCHEMA_VERSION:
        raise _newer(path, record.schema_version)
    (record.model_extra or {}).pop("checksum", None)  # of a file that was edited since it was sealed
    return record


def _refuse_newer(path: Path, error: RecordError) -> None:
    """Raise NewerRecord where only a newer program's fields are the trouble."""
    try:
        version = read_json(path, Record, remedy="").schema_version
    except RecordError:
        raise error from None
    if version > SCHEMA_VERSION:
        raise _newer(path, version)


def _newer(path: Path, version: int) -> NewerRecord:
    what = f"{path}: schema_version {version} is newer than this program's {SCHEMA_VERSION}"
    return NewerRecord(what, "update it")


def read_run(folder: Path) -> RunRecord:
    """Raises RecordError when run.json is missing, damaged, or from a newer version."""
    return read_record(folder / "run.json", RunRecord, "launch the run again to rewrite it")


def read_base(folder: Path) -> BaseRecord:
    """Raises RecordError as `read_run` does."""
    return read_record(folder / "base.json", BaseRecord, "launch a run on the base again: it is made anew")


def read_study(folder: Path) -> StudyRecord:
    """Raises RecordError as `read_run` does."""
    return read_record(folder / "study.json", StudyRecord, "launch the study again to rewrite it")


def read_eval(path: Path) -> EvalRecord:
    """Raises RecordError as `read_run` does."""
    return read_record(path, EvalRecord, again(path))


def samples_of(path: Path) -> Path:
    """Completions of an evaluation, by its record's path."""
    return path.with_suffix(".samples.jsonl.gz")


def read_whole_eval(path: Path) -> EvalRecord:
    """`read_eval`, where the completions are those that the record was made of; early records do not say."""
    record, samples = read_eval(path), samples_of(path)
    if record.samples_sha256 is not None:
        data = read_file(samples, remedy=again(path))
        if hashlib.sha256(data).hexdigest() != record.samples_sha256:
            raise RecordError(f"{samples}: {DIFFERS}", again(path))
    return record


def again(path: Path) -> str:
    """What mends an evaluation: to launch the run again, which needs its checkpoint."""
    owner, checkpoint = path.parents[2], path.parent.name.partition("-")[0]
    weights = owner / "checkpoints" / checkpoint
    if checkpoint != "base" and not weights.exists():
        return f"its checkpoint is gone: delete {owner} and launch the run again to train it anew"
    return "launch the run again to evaluate it again, or delete the file if that leaves it as it is"


def eval_paths(folder: Path) -> list[Path]:
    """Evaluation records of a run or a base, by checkpoint and task."""
    return sorted(p for p in folder.glob("eval/*/*.json") if not p.name.startswith("."))


def run_folders(study: Path) -> list[Path]:
    """Folders of a study that hold, or should hold, a run."""
    names = ("run.json", "config.yaml")
    return sorted(p for p in study.iterdir() if p.is_dir() and any((p / name).exists() for name in names))


def write_record(path: Path, record: BaseModel) -> None:
    write_json(path, record.model_dump())
