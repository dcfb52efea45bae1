"""Expected cost of a run, by finished runs of its shape or by stated rates. Imports no torch."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import mean, median
from typing import Any

from harness.data.documents import problems_to_evaluate
from harness.data.load import load_split
from harness.evaluation.eval_tasks import EvalTask, eval_tasks
from harness.launch.large import H100, run_cost
from harness.launch.launcher import has_gpu
from harness.launch.pace import GPU, THREAD, typical_share
from harness.launch.workload import TYPICAL_LENGTH, Workload, evaluation_seconds, seconds_of, workload
from harness.model import preflight, verl_memory
from harness.model.dims import ModelDims
from harness.model.files.source import shape
from harness.model.files.teacher_files import teacher_dims
from harness.records.reading import RecordError
from harness.records.records import BASES, RunRecord, read_base, read_run
from harness.schema.data_config import DataConfig
from harness.schema.model_config import DimsConfig, PretrainConfig
from harness.schema.run_config import RunConfig

START_SECONDS = 8.0  # until the first run of a launch begins: the programs that it imports
PACE_RUNS = 20  # runs of other models, the newest, that say how fast this machine is


@dataclass(frozen=True)
class Estimate:
    """Expected cost of a run without its base: most sampled tokens, seconds on one worker, and the source.

    `base_seconds` make its base; `base_evaluation` is what the first run of a seed spends on the base's own
    evaluation.
    """

    sampled_tokens: int
    seconds: float
    base_seconds: float
    base_evaluation: float
    source: str


def sampled_tokens(config: RunConfig) -> int:
    """The most tokens that a run samples: every completion at the length limit; 0 with references."""
    rollout = config.rollout
    if config.objective.uses_references:
        return 0
    problems = int(
        config.trainer.steps * rollout.prompts_per_step * (config.objective.selection.max_sampled or 1)
    )
    if rollout.search is not None:
        return problems * max(rollout.search.most, rollout.group_size * rollout.max_new_tokens)
    return problems * rollout.group_size * rollout.max_new_tokens


def estimate(config: RunConfig, records: Sequence[RunRecord] = ()) -> Estimate:
    """Estimate by finished runs of its shape and kind of objective, else of its shape, else by stated rates.

    Stated rates are corrected by what finished runs of other shapes took here against them.
    """
    gpu = on_gpu(config)
    wanted = workload(config.model_dump(), on_gpu=gpu)
    same = [
        (r, done)
        for r in records
        if (done := _workload_of(r)).shape == wanted.shape and done.references == wanted.references
    ]
    finished = [(r, done) for r, done in same if done.kind == wanted.kind] or same
    tokens, base = sampled_tokens(config), _base_seconds(config)
    if finished:
        seconds = mean(seconds_of(r, done, wanted) for r, done in finished)
        evaluation = mean(evaluation_seconds(r, done, wanted) for r, done in finished)
        return Estimate(tokens, seconds, base, evaluation, f"{_runs(finished)} of {config.model.name}")
    if config.trainer.engine == "verl" and (dims := shape(config.model, vocab_size=1)) is not None:
        have, _ = verl_memory.gpu_bytes(here=True)
        cost = run_cost(config, dims, gpu_bytes=have, evaluated=evaluated_tokens(config))
        source = f"stated rates of {config.trainer.verl.num_gpus} {H100.name}s"
        return Estimate(tokens, cost.seconds, base, cost.evaluation, source)
    seconds, evaluation = _stated(config)
    source = f"stated rates of {(GPU if gpu else THREAD).name}"
    others = [r for r in records if (r.hardware.get("device") == "cuda") == gpu]
    others = sorted(others, key=lambda r: r.finished or "")[-PACE_RUNS:]
    if factor := _pace(others):
        source = f"{_runs(others)} of other models"
    return Estimate(tokens, seconds * (factor or 1.0), base, evaluation * (factor or 1.0), source)


def _runs(found: Sequence[Any]) -> str:
    return f"{len(found)} finished run" + "s" * (len(found) > 1)


def _stated(config: RunConfig) -> tuple[float, float]:
    """Seconds of a run and of its base's evaluation by the stated rates."""
    pace = GPU if on_gpu(config) else THREAD
    tokens, rates = sampled_tokens(config), pace.rates(shape(config.model, vocab_size=1))
    each, once = _eval_tokens(config)
    sampling = pace.rates(_sampler(config))[0]
    with_prompts = 1 + preflight.TYPICAL_PROMPT_TOKENS / config.rollout.max_new_tokens
    passed = tokens or _reference_tokens(config)
    trained = passed * config.objective.updates.epochs * with_prompts
    length = typical_share(config.rollout.max_new_tokens, config.model)
    work = length * (tokens / sampling + trained / rates[1]) + evaluated_tokens(config) / rates[0]
    fixed = pace.fixed + pace.load(shape(config.model, vocab_size=1)) + pace.step * _num_steps(config)
    return fixed + work, TYPICAL_LENGTH * (each + once) / rates[0]


def _num_steps(config: RunConfig) -> int:
    """Training steps; with references passes over the problems in batches."""
    offline = config.objective.offline
    if offline is None or not config.objective.uses_references:
        return config.trainer.steps
    return offline.epochs * -(-len(load_split(config.data, "train")) // offline.batch_size)


def _reference_tokens(config: RunConfig) -> int:
    """The most completion tokens of all passes over reference solutions."""
    assert config.objective.offline is not None
    passes = config.objective.offline.epochs
    return passes * len(load_split(config.data, "train")) * config.rollout.max_new_tokens


def _pace(records: Sequence[RunRecord]) -> float | None:
    """What runs here took, over what the stated rates say: the median of these; None without a run."""
    found = [factor for factor in map(_factor, records) if factor is not None]
    return median(found) if found else None


def _factor(record: RunRecord) -> float | None:
    name = (record.study, record.run_id, record.finished)
    if name not in _factors:
        _factors[name] = None  # for a config of another version, or data that is not there
        with suppress(ValueError):
            stated, _ = _stated(RunConfig.model_validate(record.config))
            done = _workload_of(record)
            _factors[name] = seconds_of(record, done, done) / stated
    return _factors[name]


def _base_seconds(config: RunConfig) -> float:
    """Seconds to pretrain the base: by bases of its shape in this output_dir, else by the stated rates."""
    pretrain, dims = config.model.pretrain, config.model.dims
    if pretrain is None or dims is None:
        return 0.0
    wanted, pace = pretrain.steps * pretrain.batch_size, GPU if pretrain.device == "cuda" else THREAD
    shape_here = (dims.model_dump(exclude={"vocab_size"}), pretrain.device, config.threads)
    bases = Path(config.output_dir) / BASES
    stamp = bases.stat().st_mtime_ns if bases.is_dir() else 0
    found = [seconds / size for shape, size, seconds in _made(str(bases), stamp) if shape == shape_here]
    if found:
        return wanted * mean(found)
    return wanted * preflight.TYPICAL_PROMPT_TOKENS / pace.rates(shape(config.model, vocab_size=1))[1]


@lru_cache(maxsize=4)
def _made(bases: str, stamp: int) -> list[tuple[Any, int, float]]:
    """(shape, documents, seconds) of every base that was pretrained in a folder; `stamp` is its time."""
    found: list[tuple[Any, int, float]] = []
    for path in Path(bases).glob("*/base.json"):
        with suppress(RecordError, LookupError, ValueError, TypeError):
            record = read_base(path.parent)
            pretrain = PretrainConfig.model_validate(record.identity["pretrain"])
            dims = DimsConfig.model_validate(record.identity["dims"]).model_dump(exclude={"vocab_size"})
            shape_there = (dims, pretrain.device, record.identity["threads"])
            worked = record.seconds - record.waited_seconds
            taken = pretrain.steps if record.steps is None else record.steps  # fewer, where it stopped
            found.append((shape_there, taken * pretrain.batch_size, worked))
    return found


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of these is done on so many workers: the longest first, each on the first that is free.

    None is shared out: three runs of a minute take two minutes on two workers.
    """
    ends = [0.0] * max(1, workers)
    for each in sorted(seconds, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + each)
    return max(ends)


def _sampler(config: RunConfig) -> ModelDims | None:
    """Shape of the model that samples the training completions: the policy's, or a teacher's."""
    taught = "offline.sampler" in config.objective.asks_teacher
    teacher = teacher_dims(config.objective, config.model, vocab_size=1) if taught else None
    return teacher or shape(config.model, vocab_size=1)


def on_gpu(config: RunConfig) -> bool:
    """Whether a run is priced on a GPU: device=cuda says so, also where a plan is made without one."""
    return config.device == "cuda" or config.trainer.engine == "verl" or has_gpu(config.device)


# Of records, which are asked for with every run of a sweep.
_workloads: dict[tuple[str, str, str | None], Workload] = {}
_factors: dict[tuple[str, str, str | None], float | None] = {}


def _workload_of(record: RunRecord) -> Workload:
    name = (record.study, record.run_id, record.finished)
    if name not in _workloads:
        _workloads[name] = workload(record.config, on_gpu=record.hardware.get("device") == "cuda")
    return _workloads[name]


def _eval_tokens(config: RunConfig) -> tuple[float, float]:
    """Tokens that one checkpoint's evaluation samples, over TYPICAL_LENGTH, and further ones of the base."""
    tokens = once = 0.0
    for task in eval_tasks(config):
        known = _known_size(config, task.label)
        num_problems = _num_problems(task) if known is None else known
        share = typical_share(task.max_new_tokens, config.model) / TYPICAL_LENGTH
        most = num_problems * (task.k + task.greedy) * task.max_new_tokens * share
        tokens, once = (tokens, once + most) if task.base_only else (tokens + most, once)
    # A search spends its budget, where _stated expects half of every completion's limit.
    return tokens + search_tokens(config) / TYPICAL_LENGTH, once


def evaluated_tokens(config: RunConfig) -> float:
    """Tokens that the evaluations of a run's checkpoints sample, at the typical length."""
    return TYPICAL_LENGTH * _eval_tokens(config)[0] * (1 + len(config.eval.at_steps))


def _num_problems(task: EvalTask) -> int:
    """Problems of a task. Seeds that draw problems of their own draw as many: one of them is counted."""
    data = task.data.model_copy(update={"data_seed": 0}) if task.data.data_seed else task.data
    num = _counted(data.model_dump_json(), task.split, task.max_train_problems)
    return num if task.limit is None else min(num, task.limit)


@lru_cache(maxsize=256)
def _counted(data: str, split: str, most: int | None) -> int:
    return len(problems_to_evaluate(DataConfig.model_validate_json(data), split, most))


def search_tokens(config: RunConfig) -> int:
    """Tokens that a checkpoint's searches spend, what the last output of each problem is over apart."""
    data, most = config.measured_data, config.eval.max_train_problems
    return sum(
        asked.most * (_known_size(config, split) or len(problems_to_evaluate(data, split, most)))
        for asked in config.eval.search
        for split in asked.splits
    )


def _known_size(config: RunConfig, split: str) -> int | None:
    """Problems of a split of generated data, whose making takes seconds; None for what is to be counted."""
    data = config.measured_data
    sizes = {
        "train": data.num_train,
        "perturbed": data.num_train,
        "validation": data.num_validation,
        "test": data.num_test,
        "heldout": data.num_heldout,
    }
    return sizes.get(split) if data.dataset == "aime_gen" else None


def finished_records(output_dir: str) -> list[RunRecord]:
    """Every finished run under a folder; what cannot be read, or has an odd config, is left out."""
    records = []
    for path in Path(output_dir).glob("*/*/run.json"):
        with suppress(RecordError, LookupError, TypeError, ValueError):
            record = read_run(path.parent)
            if record.status == "finished" and record.seconds and _workload_of(record).samples > 0:
                records.append(record)
    return records
