"""What a run does, counted from its config: the units by which finished runs tell what another costs.

Configs are those of records too, as plain dictionaries: an early one lacks fields that came later. No torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.records.records import RunRecord

TYPICAL_LENGTH = 0.5  # completions as a share of the longest allowed
# Phases of a run's seconds by what they grow with; all others grow with the tokens that are sampled.
_ONCE = ("setup", "start")
_BY_CHECKPOINT = ("kept", "save")
_BY_STEP = ("sync", "sync_check")
_BY_PASS = ("train",)
_APART = ("evaluate", "pretrain")
_REFERENCE = 0.3  # a forward pass of the reference, as a share of a training pass
_LEAST = 0.05  # share of its time for which a run is taken to have had a core, at least
_NEAR_THE_LIMIT = 0.8  # mean length, as a share of the longest, from which a longer limit is taken to be used


@dataclass(frozen=True)
class Workload:
    """Counts of one run. `shape` says what decides the cost of a token, `kind` what is done with it.

    `samples` are completions of training, `longest` their limit in tokens, `passes` how often each is trained
    on; with `references` they are the training problems' own solutions, once an epoch. `answers` are the
    completions of one checkpoint's evaluation, `answer_longest` their limit.
    """

    shape: str
    kind: str
    references: bool
    has_reference: bool
    steps: int
    samples: int
    longest: int
    passes: int
    checkpoints: int
    evaluations: int
    answers: int
    answer_longest: int


def workload(config: dict[str, Any], *, on_gpu: bool) -> Workload:
    """Count what a run with this config does. Raises LookupError or TypeError for one that is no config."""
    rollout, trainer, asked = config["rollout"], config["trainer"], config["eval"]
    steps = int(trainer["steps"])
    every = int(trainer.get("checkpoint_every") or steps)
    objective = config["objective"]
    updates = objective.get("updates") or {}
    offline = objective.get("offline") or {}
    references = offline.get("sampler") == "reference"
    samples, longest = (
        steps * int(rollout["prompts_per_step"]) * int(rollout["group_size"]),
        int(rollout["max_new_tokens"]),
    )
    if search := rollout.get("search"):  # at the typical half of the limit an output
        samples = max(samples, steps * int(rollout["prompts_per_step"]) * 2 * search["budget"][0] // longest)
    if references:
        samples = int(offline["epochs"]) * int(config["data"].get("num_train") or 100)
    lengths = [int(asked["max_new_tokens"]), *(int(b["max_new_tokens"]) for b in asked.get("benchmarks", ()))]
    return Workload(
        shape=_shape(config, on_gpu),
        kind=_kind(objective),
        references=references,
        has_reference=_penalty(objective) == "ref",
        steps=steps,
        samples=samples,
        longest=longest,
        passes=int(updates.get("epochs", 1)),
        checkpoints=len({*range(every, steps + 1, every), steps}),
        evaluations=1 + len([s for s in asked.get("at_steps", ()) if s < steps]),
        answers=_answers(config),
        answer_longest=max(lengths),
    )


def _shape(config: dict[str, Any], on_gpu: bool) -> str:
    """Everything that decides what a token costs: the model's dimensions, precision, threads, sampler."""
    model = config["model"]
    named = [model.get("hub_id"), model.get("path")] if model["source"] != "ladder" else None
    dims = {k: v for k, v in (model.get("dims") or {}).items() if k != "vocab_size"}
    lora = config["trainer"].get("lora") is not None
    settings = [config["dtype"], config["threads"], config["rollout"].get("engine"), lora, on_gpu]
    if config["trainer"].get("engine", "native") != "native":
        settings.append(config["trainer"].get("verl"))
    return json.dumps([named, dims, settings], sort_keys=True)


def _kind(objective: dict[str, Any]) -> str:
    """Everything in an objective that decides which passes a sample takes, and which samples train."""
    selection, advantage = objective.get("selection") or {}, objective.get("advantage") or {}
    others = ("value", "teacher", "reward_model", "process_reward_model")
    models = [objective.get(name) is not None for name in others]
    # A larger teacher's samples take longer; of one that is a folder the size is not known.
    teacher = ((objective.get("teacher") or {}).get("model") or {}).get("dims")
    train = [selection.get("fn"), selection.get("max_sampled"), advantage.get("sign", "both")]
    once = objective.get("offline") is not None
    found = [_penalty(objective), train, once, models, objective.get("updates"), teacher]
    return json.dumps(found, sort_keys=True)


def _penalty(objective: dict[str, Any]) -> str | None:
    """Policy that a KL term is taken against, where there is one."""
    kl = objective.get("kl") or {}
    return str(kl.get("against", "ref")) if kl.get("coef") else None


def _answers(config: dict[str, Any]) -> int:
    """Completions that one checkpoint's evaluation samples; a split of unknown size counts as 100."""
    data, asked = config["data"], config["eval"]
    most = asked.get("max_train_problems")
    temperatures = {asked["temperature"], *asked.get("temperatures", ())}
    samplings = len(temperatures) * len({asked["top_p"], *asked.get("top_ps", ())})
    each = int(asked["k"]) * samplings + bool(asked["greedy"])
    number = 0
    for split in asked["splits"]:
        trained = split in ("train", "perturbed")
        size = int(data.get("num_train" if trained else f"num_{split}") or 100)
        number += (min(size, most) if trained and most else size) * each
    for search in asked.get("search", ()):
        longest = int(asked["max_new_tokens"])  # a budget buys about twice as many outputs as at this length
        sizes = [int(data.get(f"num_{split}") or 100) for split in search["splits"]]
        number += sum(sizes) * max(1, 2 * max(search["budget"]) // longest)
    for benchmark in asked.get("benchmarks", ()):
        number += int(benchmark.get("limit") or 100) * (int(benchmark["k"]) + bool(benchmark["greedy"]))
    return number


def seconds_of(record: RunRecord, done: Workload, wanted: Workload) -> float:
    """Seconds of a run, without its base, by what a finished one of its shape took for each of its units.

    Set-up counts once, checks and checkpoints by their number, sampling and training by completions and their
    length, updates by passes too, evaluation by answers. All on a quiet machine: what it waited is left out.
    """
    length = _longer(record, done, wanted)
    samples = wanted.samples / max(1, done.samples) * length
    answers = wanted.answers * wanted.evaluations / max(1, done.answers * done.evaluations)
    answer_length = _limited(_mean_length(record, done) or done.answer_longest, done, wanted)
    total = _unbooked(record)
    for phase, seconds in record.seconds.items():
        if phase in _ONCE:
            total += seconds
        elif phase in _BY_CHECKPOINT:
            total += seconds * wanted.checkpoints / done.checkpoints
        elif phase in _BY_STEP:
            total += seconds * wanted.steps / done.steps
        elif phase in _BY_PASS:
            total += seconds * samples * wanted.passes / done.passes
        elif phase == "evaluate":
            total += seconds * answers * answer_length
        elif phase not in _APART and (wanted.has_reference or phase != "reference"):
            total += seconds * samples
    if wanted.has_reference and not done.has_reference:
        total += _REFERENCE * record.seconds.get("train", 0.0) * samples / done.passes
    return total * _unhindered(record)


def evaluation_seconds(record: RunRecord, done: Workload, wanted: Workload) -> float:
    """Seconds of one checkpoint's evaluation, by a finished run of the same shape."""
    answers = wanted.answers / max(1, done.answers * done.evaluations)
    length = _limited(_mean_length(record, done) or done.answer_longest, done, wanted)
    return record.seconds.get("evaluate", 0.0) * answers * length * _unhindered(record)


def _mean_length(record: RunRecord, done: Workload) -> float | None:
    sampled = record.tokens.get("sampled", 0)
    return sampled / done.samples if sampled and done.samples else None


def _longer(record: RunRecord, done: Workload, wanted: Workload) -> float:
    """How much longer a completion of training is: by the limits where one of them binds."""
    mean = _mean_length(record, done)
    return 1.0 if mean is None else _stretched(mean, done.longest, wanted.longest)


def _limited(mean: float, done: Workload, wanted: Workload) -> float:
    return _stretched(min(mean, done.answer_longest), done.answer_longest, wanted.answer_longest)


def _stretched(mean: float, was: int, now: int) -> float:
    """Mean length under the limit `now`, over that under the limit `was`."""
    if now > was:
        return now / was if mean >= _NEAR_THE_LIMIT * was else 1.0
    return min(mean, now) / mean


def _unhindered(record: RunRecord) -> float:
    """Share of a run's time in which it did not wait for a core; 1 for records that do not say."""
    whole = sum(record.seconds.values()) + record.base_seconds + _unbooked(record)
    return max(_LEAST, 1 - record.waited_seconds / whole) if whole > 0 else 1.0


def _unbooked(record: RunRecord) -> float:
    """Seconds of a run that are in no phase and not its base's: loading, records; 0 if it was interrupted."""
    if record.num_resumes or record.finished is None:
        return 0.0
    try:
        whole = datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)
    except ValueError:
        return 0.0
    booked = sum(record.seconds.values()) + record.base_seconds
    return max(0.0, whole.total_seconds() - booked)
