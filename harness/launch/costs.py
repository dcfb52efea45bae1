"""Expected cost of a run, by finished runs of its model or by stated rates. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.load import load_split
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
    """The most tokens that a run samples: every completion at the length limit; 0 with references."""
    rollout = config.rollout
    if config.objective.uses_references:
        return 0
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
    own = _costing(config.model_dump())
    same_model = [
        r for r in records if (c := _costing(r.config)).model == own.model and c.references == own.references
    ]
    same_arm = [r for r in same_model if _costing(r.config).objective == config.objective.name]
    if finished := same_arm or same_model:
        seconds = _seconds_by(finished, own)
        return Estimate(tokens, seconds, base, f"{len(finished)} finished runs of {config.model.name}")
    updates = config.objective.updates.epochs
    eval_tokens = _eval_tokens(config)
    trained = (
        (tokens or _reference_tokens(config))
        * updates
        * (1 + preflight.TYPICAL_PROMPT_TOKENS / config.rollout.max_new_tokens)
    )
    seconds = FIXED_SECONDS + TYPICAL_LENGTH * ((tokens + eval_tokens) / rates[0] + trained / rates[1])
    return Estimate(tokens, seconds, base, "stated rates of one CPU thread")


def _reference_tokens(config: RunConfig) -> int:
    """The most completion tokens of all passes over reference solutions."""
    assert config.objective.offline is not None
    passes = config.objective.offline.epochs
    return passes * len(load_split(config.data, "train")) * config.rollout.max_new_tokens


def _rates(model: ModelConfig) -> tuple[float, float]:
    dims = shape(model, vocab_size=1)
    size = 1.0 if dims is None else num_non_embedding_parameters(dims) / REFERENCE_SIZE
    return SAMPLE_RATE * size**-SAMPLE_POWER, TRAIN_RATE * size**-TRAIN_POWER


class _Costing(NamedTuple):
    """What decides a run's cost: `samples` of training, `answers` of evaluation, per problem and split.

    With `references` nothing is sampled, and `samples` counts passes over the solutions.
    """

    model: str
    objective: str
    samples: int
    answers: int
    references: bool


def _costing(config: dict[str, Any]) -> _Costing:
    """Read it from a run's config, as a record has it; an early one has no further samplings."""
    rollout, trainer, asked = config["rollout"], config["trainer"], config["eval"]
    names = str(config["model"]["name"]), str(config["objective"]["name"])
    samples = trainer["steps"] * rollout["prompts_per_step"] * rollout["group_size"]
    offline = config["objective"].get("offline") or {}
    if references := offline.get("sampler") == "reference":
        samples = offline["epochs"]
    temperatures = {asked["temperature"], *asked.get("temperatures", ())}
    num_samplings = len(temperatures) * len({asked["top_p"], *asked.get("top_ps", ())})
    answers = len(asked["splits"]) * (asked["k"] * num_samplings + asked["greedy"])
    checkpoints = 1 + len(asked.get("at_steps", ()))
    return _Costing(*names, int(samples), answers * checkpoints, references)


def _seconds_by(finished: Sequence[RunRecord], costing: _Costing) -> float:
    """Seconds of a run by those of finished ones: evaluation by its answers, the rest by training samples."""
    costs = [_costing(r.config) for r in finished]
    evaluated = sum(r.seconds.get("evaluate", 0.0) for r in finished)
    rest = sum(v for r in finished for k, v in r.seconds.items() if k not in ("pretrain", "evaluate"))
    seconds = rest * costing.samples / sum(c.samples for c in costs)
    return seconds + evaluated * costing.answers / max(1, sum(c.answers for c in costs))


def _eval_tokens(config: RunConfig) -> int:
    data = config.measured_data
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
            if record.status == "finished" and record.seconds and _costing(record.config).samples > 0:
                records.append(record)
    return records
