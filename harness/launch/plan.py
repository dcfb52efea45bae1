"""The text of `--plan`: what a sweep will do and what it can detect. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.eval_tasks import eval_tasks
from harness.identity import base_id, base_made, bases_of
from harness.launch.ablation import AblationSpec, differences
from harness.launch.expand import Sweep
from harness.launch.jobs import Job
from harness.launch.levels import gap_lines
from harness.model import preflight
from harness.model.dims import num_non_embedding_parameters
from harness.model.files.source import not_reached, shape
from harness.records.progress import duration
from harness.records.reading import RecordError
from harness.records.records import RunRecord, read_run
from harness.schema.model_config import ModelConfig
from harness.schema.run_config import RunConfig
from harness.seeds import STREAMS, all_streams

# One CPU thread, measured on the ladder: tokens/s at 0.18M non-embedding parameters, falling with a power of
# their number. They order runs and give a first idea of the time; finished runs of a model replace them.
SAMPLE_RATE, SAMPLE_POWER = 43e3, 0.70
TRAIN_RATE, TRAIN_POWER = 21e3, 0.74
REFERENCE_SIZE = 0.18e6
FIXED_SECONDS = 8.0  # loading, and lm-eval's own time
TYPICAL_LENGTH = 0.5  # completions as a share of the longest allowed
ASSUMED_SD = 0.03  # of per-seed differences in accuracy, while no finished runs give one


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


def shared_streams(configs: Sequence[RunConfig]) -> dict[str, bool]:
    """For each named stream: do all of these runs draw from the same numbers?"""
    found = [all_streams(seed=c.seed, base_seed=c.base_seed, replicate=c.replicate) for c in configs]
    return {stream: len({seeds[stream] for seeds in found}) == 1 for stream in STREAMS}


def arm_label(levels: dict[str, str]) -> str:
    """`grpo, ladder_xs, lr=1e-4`: a group's option and an arm say what they are, others get their key."""
    from harness.launch.compose import GROUPS

    parts = [v if k in GROUPS or k == "arm" else f"{k.rsplit('.', 1)[-1]}={v}" for k, v in levels.items()]
    return ", ".join(parts) or "all runs"


def by_arm(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    arms: dict[str, list[Job]] = {}
    for job in jobs:
        arms.setdefault(arm_label(job.levels), []).append(job)
    return arms


def describe(sweep: Sweep, todo: dict[str, str], *, workers: int) -> str:
    """The text of `--plan`. `todo` says by run id what a launch would do: run, resume, skip or evaluate."""
    records = finished_records(sweep.jobs[0].config.output_dir)
    arms = by_arm(sweep.jobs)
    first = [jobs[0].config for jobs in arms.values()]
    lines = [
        f"Question: {sweep.question}",
        f"{_count(len(arms), 'arm')} × {_count(len(sweep.seeds), 'seed')}, {_count(len(sweep.jobs), 'run')}",
    ]
    lines += ["", *_arm_table(arms, todo, records)]
    lines += _declared(sweep)
    lines += ["", *_time_lines(sweep.jobs, todo, records, workers)]
    lines += ["", "Memory of a run, GiB:", *dict.fromkeys(f"  {preflight.describe(c)}" for c in first)]
    if unknown := sorted({c.model.name for c in first if not_reached(c.model)}):
        lines += [f"The hub was not reached about {', '.join(unknown)}: its runs get other names once it is."]
    if len(arms) > 1:
        lines += ["", "What differs between the arms:", *_difference_lines(arms)]
        lines += ["", "Random streams, at one seed:", *_stream_lines(first)]
    lines += ["", detectable(len(sweep.seeds), records)]
    if sweep.shared_base:
        lines += [
            "Seeds share a base: intervals are conditional on it (base_seed=${seed} gives each its own)."
        ]
    return "\n".join(lines)


def _declared(sweep: Sweep) -> list[str]:
    """What the ablation says beforehand: its contrast, Holm's family, the margin, what no arm may change."""
    if (spec := sweep.spec) is None:
        return []
    lines = _primary_lines(sweep, spec)
    if spec.nulls:
        most = spec.primary.null_gain if spec.primary else None
        bound = "" if most is None else f", and may be {100 * most:+g} points at most in its mean"
        lines.append(f"Null controls, whose gain ought to be 0{bound}: {', '.join(spec.nulls)}")
    if spec.checkpoint == "validation":
        lines.append(
            "Checkpoint of each run: the best avg@k on validation of those evaluated, at most the last"
        )
    if spec.margin is not None:
        lines.append(f"Equivalent within: ±{100 * spec.margin:g} points (two one-sided t tests)")
    lines += [f"Design: {line}" for line in gap_lines(spec, sweep.factors, sweep.control)]
    if spec.fixed:
        lines.append(f"Held fixed in every arm: {', '.join(spec.fixed)}")
    return ["", *lines] if lines else []


def _primary_lines(sweep: Sweep, spec: AblationSpec) -> list[str]:
    """The comparison that decides, and the family that Holm adjusts."""
    if (primary := spec.primary) is None:
        return []
    lines = []
    control = sweep.control.get(primary.factor)
    measure = f"{primary.metric}@k on {primary.split}"
    if primary.criterion == "gain":
        lines.append(f"A level passes if the interval of its gain over the base lies above 0; {measure}")
        lines.append(f"Levels that the claim is about: {', '.join(spec.family)}")
    elif control is None:
        lines.append(f"Primary contrast: none, {primary.factor} has one level here; {measure}")
    else:
        contrast = f"{primary.contrast or 'every other level'} against {control}"
        lines.append(f"Primary contrast: {primary.factor}, {contrast}; {measure}")
    if primary.path:
        lines.append(f"Step by step, a family of its own: {' → '.join(primary.path)}")
    if control is not None:
        family = ", ".join(spec.family) or f"every level of {primary.factor}"
        lines.append(f"Holm's family: {family}, each against {control}")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _arm_table(arms: dict[str, list[Job]], todo: dict[str, str], records: Sequence[RunRecord]) -> list[str]:
    rows = [("arm", "seeds", "to do", "tokens a run ≤", "time a run", "from")]
    for label, jobs in arms.items():
        guess = estimate(jobs[0].config, records)
        actions = [todo[job.run_id] for job in jobs]
        rows.append(
            (
                label,
                ",".join(str(job.config.seed) for job in jobs),
                ", ".join(f"{actions.count(a)} {a}" for a in dict.fromkeys(actions)),
                f"{guess.sampled_tokens:,}",
                duration(guess.seconds),
                guess.source,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _time_lines(
    jobs: Sequence[Job], todo: dict[str, str], records: Sequence[RunRecord], workers: int
) -> list[str]:
    left = [job.config for job in jobs if todo[job.run_id] != "skip"]
    bases = {base_id(c): c for run in left for c in bases_of(run) if not base_made(c)}
    seconds = sum(estimate(c, records).seconds for c in left)
    seconds += sum(estimate(c, records).base_seconds for c in bases.values())
    names = ", ".join(sorted(bases)) or "none"
    return [f"Bases to make: {names}", f"Expected: {duration(seconds / workers)} on {workers} workers"]


def _difference_lines(arms: dict[str, list[Job]]) -> list[str]:
    """`key: value (levels that have it) | ...`, by the one factor that sets it where there is one."""
    jobs = [jobs[0] for jobs in arms.values()]
    lines = []
    for key, values in differences([job.config for job in jobs]).items():
        labels = _labels_that_set(jobs, [_short(value) for value in values]) or list(arms)
        groups: dict[str, list[str]] = {}
        for label, value in zip(labels, values, strict=True):
            groups.setdefault(_short(value), []).append(label)
        parts = [f"{value} ({', '.join(dict.fromkeys(names))})" for value, names in groups.items()]
        lines.append(f"  {key}: {' | '.join(parts)}")
    return lines


def _labels_that_set(jobs: Sequence[Job], values: Sequence[str]) -> list[str] | None:
    """Each job's level of the factor whose level alone tells the value; None where it takes several."""
    for factor in jobs[0].levels:
        levels = [job.levels[factor] for job in jobs]
        if len(set(zip(levels, values, strict=True))) == len(set(levels)):
            return levels
    return None


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)


def _stream_lines(configs: Sequence[RunConfig]) -> list[str]:
    lines = []
    for stream, shared in shared_streams(configs).items():
        text = "shared by all arms" if shared else "differs between arms"
        if stream == "base":
            text += f"; {len({base_id(c) for c in configs})} bases"
        lines.append(f"  {stream}: {text}")
    return lines


def detectable(num_seeds: int, records: Sequence[RunRecord] = ()) -> str:
    """The smallest true difference that the paired t finds with probability 0.8 at level 0.05."""
    if num_seeds < 3:
        return f"{_count(num_seeds, 'seed')}: no interval; use at least 3."
    from analysis.stats.inference import smallest_detectable

    difference = smallest_detectable(sd=ASSUMED_SD, num_seeds=num_seeds)
    assert math.isfinite(difference)
    return (
        f"Smallest difference that {num_seeds} seeds detect (paired t, power 0.8, level 0.05): "
        f"{100 * difference:.1f} points, assuming a standard deviation of {100 * ASSUMED_SD:.0f} points "
        "between per-seed differences."
    )
