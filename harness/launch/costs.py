"""Expected cost of a run, by finished runs of its model or by stated rates. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.eval_tasks import eval_tasks
from harness.model import preflight
from harness.model.dims import num_non_embedding_parameters
from harness.model.files.source import shape
from harness.records.reading import RecordError
from harness.records.records import RunRecord, read_run
from harness.schema.model_config import ModelConfig
from harness.schema.run_config import RunConfig

# One CPU thread, measured on the ladder: tokens/s at 0.18M non-embedding parameters, falling with a power of
# their number. They order runs and give a first idea of the time; finished runs of a model replace them.
SAMPLE_RATE, SAMPLE_POWER = 43e3, 0.70
TRAIN_RATE, TRAIN_POWER = 21e3, 0.74
REFERENCE_SIZE = 0.18e6
FIXED_SECONDS = 8.0  # loading, and lm-eval's own time
TYPICAL_LENGTH = 0.5  # completions as a share of the longest allowed


@dataclass(frozen=True)
class Estimate:
    """Expected cost of a run without its base: most sampled tokens, seconds on one worker, and the source."""

    sampled_tokens: int
    seconds: float
    base_seconds: float
    source: str


def sampled_tokens(config: RunConfig) -> int:
    """The most tokens that a run samples: every completion at the length limit."""
    rollout = config.rollout
    samples = config.trainer.steps * rollout.prompts_per_step * rollout.group_size
    refilled = config.objective.selection.max_sampled or 1
    return int(samples * refilled) * rollout.max_new_tokens


def estimate(config: RunConfig, records: Sequence[RunRecord] = ()) -> Estimate:
    """Estimate by finished runs of the same model and objective, else of the model, else by stated rates."""
    tokens = sampled_tokens(config)
    rates = _rates(config.model)
    base = 0.0
    if config.model.pretrain is not None:
        pretrain = config.model.pretrain
        base = pretrain.steps * pretrain.batch_size * preflight.TYPICAL_PROMPT_TOKENS / rates[1]
    same_model = [r for r in records if _costing(r.config)[0] == config.model.name]
    same_arm = [r for r in same_model if _costing(r.config)[1] == config.objective.name]
    if finished := same_arm or same_model:
        per_sample = sum(sum(v for k, v in r.seconds.items() if k != "pretrain") for r in finished)
        per_sample /= sum(_costing(r.config)[2] for r in finished)
        seconds = per_sample * _costing(config.model_dump())[2]
        return Estimate(tokens, seconds, base, f"{len(finished)} finished runs of {config.model.name}")
    updates = config.objective.updates.epochs
    eval_tokens = _eval_tokens(config)
    trained = tokens * updates * (1 + preflight.TYPICAL_PROMPT_TOKENS / config.rollout.max_new_tokens)
    seconds = FIXED_SECONDS + TYPICAL_LENGTH * ((tokens + eval_tokens) / rates[0] + trained / rates[1])
    return Estimate(tokens, seconds, base, "stated rates of one CPU thread")


def _rates(model: ModelConfig) -> tuple[float, float]:
    dims = shape(model, vocab_size=1)
    size = 1.0 if dims is None else num_non_embedding_parameters(dims) / REFERENCE_SIZE
    return SAMPLE_RATE * size**-SAMPLE_POWER, TRAIN_RATE * size**-TRAIN_POWER


def _costing(config: dict[str, Any]) -> tuple[str, str, int]:
    """(model, objective, samples) of a run's config, as a record has it."""
    rollout, trainer = config["rollout"], config["trainer"]
    samples = trainer["steps"] * rollout["prompts_per_step"] * rollout["group_size"]
    return str(config["model"]["name"]), str(config["objective"]["name"]), int(samples)


def _eval_tokens(config: RunConfig) -> int:
    data = config.data
    sizes = {
        "train": data.num_train,
        "perturbed": data.num_train,
        "validation": data.num_validation,
        "test": data.num_test,
        "heldout": data.num_heldout,
    }
    tokens = once = 0
    for task in eval_tasks(config):
        known = sizes.get(task.label) if data.dataset == "aime_gen" else None  # making them takes seconds
        num_problems = len(task.problems()) if known is None else known
        most = num_problems * (task.k + task.greedy) * task.max_new_tokens
        tokens, once = (tokens, once + most) if task.base_only else (tokens + most, once)
    return tokens * (1 + len(config.eval.at_steps)) + once


def finished_records(output_dir: str) -> list[RunRecord]:
    """Every finished run under a folder; what cannot be read, or has an odd config, is left out."""
    records = []
    for path in Path(output_dir).glob("*/*/run.json"):
        with suppress(RecordError, LookupError, TypeError, ValueError):
            record = read_run(path.parent)
            _, _, samples = _costing(record.config)
            if record.status == "finished" and record.seconds and samples > 0:
                records.append(record)
    return records
