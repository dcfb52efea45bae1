"""The text of `--plan`: what a sweep will do and what it can detect. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.identity import base_id, streams_of
from harness.launch.ablation import AblationSpec, GainShare
from harness.launch.arm_checks import differences
from harness.launch.costs import estimate, finished_records
from harness.launch.expand import Sweep
from harness.launch.jobs import Job
from harness.launch.levels import gap_lines
from harness.launch.plan_lines import sampling_lines, until_lines
from harness.launch.plan_machines import machine_lines
from harness.launch.plan_stages import stage_rows
from harness.launch.plan_times import count, stretched, time_lines
from harness.launch.rates import SPLIT, as_text
from harness.model.files.source import not_reached
from harness.records.progress import duration
from harness.records.records import RunRecord
from harness.schema.run_config import RunConfig
from harness.seeds import STREAMS

ASSUMED_SD = 0.03  # of per-seed differences in accuracy, while no finished runs give one


def shared_streams(configs: Sequence[RunConfig]) -> dict[str, bool]:
    """For each named stream: do all of these runs draw from the same numbers?"""
    found = [streams_of(c) for c in configs]
    return {stream: len({seeds[stream] for seeds in found}) == 1 for stream in STREAMS}


def arm_label(levels: dict[str, str]) -> str:
    """`grpo, ladder_xs, lr=1e-4`: a group's option and an arm say what they are, others get their key."""
    from harness.launch.compose import GROUPS

    plain = (*GROUPS, "arm", "stage")
    parts = [v if k in plain else f"{k.rsplit('.', 1)[-1]}={v}" for k, v in levels.items()]
    return ", ".join(parts) or "all runs"


def by_arm(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    arms: dict[str, list[Job]] = {}
    for job in jobs:
        arms.setdefault(arm_label(job.levels), []).append(job)
    return arms


def describe(sweep: Sweep, todo: dict[str, str], *, workers: int, here: bool = True) -> str:
    """The text of `--plan`. `todo` says by run id what a launch would do: run, resume, skip or evaluate.

    `here`: runs start on this machine, whose memory then stands beside theirs.
    """
    records = finished_records(sweep.jobs[0].config.output_dir)
    arms = by_arm(sweep.jobs)
    first = [jobs[0].config for jobs in arms.values()]
    busy = stretched(sweep, todo, workers) if here else 1.0
    lines = [
        f"Question: {sweep.question}",
        " × ".join(
            [
                count(len(arms), "arm"),
                *([count(len(sweep.grid), "learning rate")] if sweep.grid else []),
                count(len(sweep.seeds), "seed"),
            ]
        )
        + f", {count(len(sweep.runs), 'run')}",
    ]
    lines += ["", *_arm_table(arms, todo, records, busy)]
    if stages := stage_rows(arms, todo, records):
        lines += [
            "",
            "Stages; one that arms share is one run, and the next begins from its last checkpoint:",
        ]
        lines += _aligned(stages)
    if sweep.grid:
        lines += ["", f"Every arm tries trainer.lr={', '.join(map(as_text, sweep.grid))} at every seed; each"]
        lines[-1] += f" seed's best avg@k on its own {SPLIT} is taken, the smaller of equal ones"
    lines += _match_lines(sweep)
    lines += _declared(sweep)
    lines += sampling_lines(first) + until_lines(first)
    lines += ["", *time_lines(sweep, todo, records, workers, busy)]
    every = [stage.config for jobs in arms.values() for stage in jobs[0].stages]
    lines += machine_lines(every, here=here)
    if unknown := sorted({c.model.name for c in first if not_reached(c.model)}):
        lines += [f"The hub was not reached about {', '.join(unknown)}: its runs get other names once it is."]
    if len(arms) > 1:
        lines += ["", "What differs between the arms:", *_difference_lines(arms)]
        lines += ["", "Random streams, at one seed:", *_stream_lines(first)]
    if sweep.spec is not None and sweep.spec.draws == "per_seed":
        lines += [
            "",
            "Each seed draws training, validation and test problems of its own (data_seed=${seed}).",
        ]
    lines += ["", detectable(len(sweep.seeds))]
    if sweep.shared_base:
        lines += [
            "Seeds share a base: intervals are conditional on it (base_seed=${seed} gives each its own)."
        ]
    return "\n".join(lines)


def _match_lines(sweep: Sweep) -> list[str]:
    """Steps of each arm, with what a step costs and how near it comes to its control's budget."""
    if sweep.spec is None or (by := sweep.spec.match) is None:
        return []
    if not sweep.match:
        stages = ", after the stages before it in full" if any(job.before for job in sweep.jobs) else ""
        first = f"a short run of each arm{stages} measures a step first"
        return ["", f"Matched by {by}: {first}; steps are not set yet"]
    rows = [
        f"  {row['arm']}: {row['a_step']:.4g} {by} a step, {row['steps']} steps, "
        f"{100 * row['share']:.1f} % of the control's budget"
        for row in sweep.match
    ]
    return ["", f"Matched by {by}:", *rows]


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
        within = (
            f"{100 * spec.margin.share:g} % of the control's gain"
            if isinstance(spec.margin, GainShare)
            else f"±{100 * spec.margin:g} points"
        )
        lines.append(f"Equivalent within: {within} (two one-sided t tests)")
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


def _to_do(action: str, number: int) -> str:
    """`3 runs`, `1 to resume`, `2 done`."""
    if action == "run":
        return count(number, "run")
    return f"{number} done" if action == "skip" else f"{number} to {action}"


def _arm_table(
    arms: dict[str, list[Job]], todo: dict[str, str], records: Sequence[RunRecord], busy: float
) -> list[str]:
    rows = [("arm", "seeds", "to do", "tokens a run ≤", "time a run", "from")]
    for label, jobs in arms.items():
        guesses = [estimate(stage.config, records) for stage in jobs[0].stages]
        actions = [todo[job.run_id] for job in jobs]
        rows.append(
            (
                label,
                ",".join(dict.fromkeys(str(job.config.seed) for job in jobs)),
                ", ".join(_to_do(a, actions.count(a)) for a in dict.fromkeys(actions)),
                f"{sum(guess.sampled_tokens for guess in guesses):,}",
                duration(busy * sum(guess.seconds for guess in guesses)),
                "; ".join(dict.fromkeys(guess.source for guess in guesses)),
            )
        )
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


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
            text += f"; {count(len({base_id(c) for c in configs}), 'base')}"
        lines.append(f"  {stream}: {text}")
    return lines


def detectable(num_seeds: int) -> str:
    """The smallest true difference that the paired t finds with probability 0.8 at level 0.05."""
    if num_seeds < 3:
        return f"{count(num_seeds, 'seed')}: no interval; use at least 3."
    from analysis.stats.inference import smallest_detectable

    difference = smallest_detectable(sd=ASSUMED_SD, num_seeds=num_seeds)
    assert math.isfinite(difference)
    return (
        f"Smallest difference that {num_seeds} seeds detect (paired t, power 0.8, level 0.05): "
        f"{100 * difference:.1f} points, assuming a standard deviation of {100 * ASSUMED_SD:.0f} points "
        "between per-seed differences."
    )
