"""One learning rate an arm, chosen on the validation split before the runs that are reported.

Objectives differ in the size of their gradients, and that must not pass for an effect: each arm tries the
same grid, with seeds that no table shows, and trains at the rate that was best for it. Intervals over the
study's seeds leave this choice out; `select: per_seed` (harness/launch/rates.py) has it inside.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from harness.identity import run_folder
from harness.launch.ablation import arm_key
from harness.launch.costs import estimate, finished_records, makespan
from harness.launch.declaration import declare
from harness.launch.expand import Sweep, expand
from harness.launch.jobs import Functions, Job
from harness.launch.launchers import workers_of
from harness.launch.pipeline import LAST
from harness.launch.rates import SPLIT, RateGrid, rate_key
from harness.launch.seed_rule import without_until
from harness.launch.status import evaluation_folders, finished, readable
from harness.launch.sweep import plan, run_sweep, study_folder
from harness.launch.until import rule_of, run_until
from harness.records.locks import study_lock
from harness.records.progress import duration
from harness.records.reading import RecordError
from harness.records.records import read_eval
from harness.schema.run_config import ConfigError

FAILED = 1  # exit code
DIVERGED = "TrainingError: "  # how the reason begins of a run that failed by its own training


@dataclass(frozen=True)
class RateChoice:
    """The learning rates that an arm tried, rate -> seed -> avg@k on validation, and the one that it got.

    A run that failed has no entry. `edge`: the best is the grid's smallest or largest. `tied`: rates that
    are as good as the chosen, the smallest of them.
    """

    arm: str
    tried: dict[str, dict[str, float]]
    chosen: float
    edge: bool
    tied: list[float] = field(default_factory=list)


def pilot_of(sweep: Sweep, overrides: Sequence[str], *, config_dir: str | None = None) -> Sweep | None:
    """The runs that choose the learning rates of a sweep, a study of their own.

    They sample validation as the sweep samples its test, with the grid's own k.
    None without a grid or with one whose rates run at every seed, or with a learning rate on the command
    line, which every arm then has.
    """
    grid = None if sweep.spec is None else sweep.spec.lr_grid
    given = ("trainer.lr=", f"{_rate_key(sweep)}=")
    if grid is None or grid.select != "pooled" or any(line.startswith(given) for line in overrides):
        return None
    first = sweep.jobs[0].config
    own = {
        _rate_key(sweep): ",".join(f"{rate:g}" for rate in sorted(grid.rates)),
        "seed": ",".join(map(str, grid.seeds)),
        "study": f"{first.study}_pilot",
        "eval.splits": f"[{SPLIT}]",
        "eval.k": f"{grid.k}",
        "eval.greedy": "false",
        "eval.at_steps": "[]",
        "eval.temperatures": "[]",
        "eval.top_ps": "[]",
        "eval.rerank": "[]",
        "eval.base_templates": "[]",
        "eval.benchmarks": "[]",
        "eval.lm_eval": "[]",
        "eval.search": "[]",
    }
    lines = [line for line in without_until(overrides) if line.lstrip("+").partition("=")[0] not in own]
    lines += [f"{key}={value}" for key, value in own.items()]
    return expand(lines, multirun=True, config_dir=config_dir, max_runs=sweep.composer.max_runs)


def _rate_key(sweep: Sweep) -> str:
    """The override that tries a learning rate: in a sweep with pipelines each arm's last stage has it."""
    return rate_key(LAST if any(job.config.stage for job in sweep.jobs) else None)


def run_with_pilot(
    sweep: Sweep,
    pilot: Sweep,
    *,
    overrides: Sequence[str],
    config_dir: str | None,
    functions: Functions,
) -> int:
    """The pilot, the choice, the runs that are reported; what is finished is skipped. The exit code.

    Stops before the choice where a run of the pilot has no number for another reason than its training.
    """
    grid = _grid(sweep)
    if any(finished(job.config) is None for job in pilot.runs):  # the study learns from its pilot first
        with study_lock(study_folder(sweep)):
            declare(sweep, study_folder(sweep))
    code = run_sweep(pilot, overrides=overrides, functions=functions, reported=False)
    if lacking := _lacking(pilot):
        for line in lacking:
            print(f"pilot: {line}", file=sys.stderr)
        print("pilot: no rate is chosen without these; launch again to run them", file=sys.stderr)
        return code or FAILED
    choices = choose(pilot, grid)
    for choice in choices:
        print(f"{choice.arm or 'all runs'}: {_said(choice)}", file=sys.stderr)
    most, rates = sweep.composer.max_runs, rates_of(choices)
    chosen = expand(overrides, multirun=True, config_dir=config_dir, rates=rates, max_runs=most)
    settings: Any = {"overrides": overrides, "functions": functions, "pilot": [asdict(c) for c in choices]}
    if rule := rule_of(chosen):
        return run_until(chosen, rule, config_dir=config_dir, **settings) or code
    return run_sweep(chosen, **settings) or code


def _lacking(pilot: Sweep) -> list[str]:
    """The runs without a number whose training is not to blame: a machine must not decide on a rate."""
    found = []
    for job in pilot.jobs:
        record = readable(run_folder(job.config))
        reason = (record.reason if record else None) or "it did not run"
        if finished(job.config) is None and not reason.startswith(DIVERGED):
            arm = arm_key({k: v for k, v in job.levels.items() if k != _rate_key(pilot)}) or "all runs"
            found.append(f"{arm}, trainer.lr={job.config.trainer.lr:g}, seed {job.config.seed}: {reason}")
    return found


def plan_with_pilot(sweep: Sweep, pilot: Sweep, *, overrides: Sequence[str], config_dir: str | None) -> str:
    """What a launch would do: the pilot's runs, then those that are reported."""
    grid = _grid(sweep)
    seeds = ", ".join(map(str, grid.seeds))
    lines = [f"Pilot: every arm tries trainer.lr={', '.join(f'{r:g}' for r in sorted(grid.rates))}"]
    lines[0] += f" at seeds {seeds}, which are not reported; best avg@{grid.k} on {SPLIT} is taken"
    left = [job.config for job in pilot.runs if finished(job.config) is None]
    if left:
        rate, records = sweep.jobs[0].config.trainer.lr, finished_records(left[0].output_dir)
        seconds = makespan([estimate(config, records).seconds for config in left], workers_of(pilot))
        lines.append(f"{len(left)} of its {len(pilot.runs)} runs are to do: {duration(seconds)}, bases apart")
        lines.append(f"Until it has chosen, the runs below stand with trainer.lr={rate:g}")
    else:
        choices = choose(pilot, grid)
        lines += [f"  {c.arm or 'all runs'}: {_said(c)}" for c in choices]
        most, rates = sweep.composer.max_runs, rates_of(choices)
        sweep = expand(overrides, multirun=True, config_dir=config_dir, rates=rates, max_runs=most)
    return "\n".join([*lines, "", plan(sweep)])


def _grid(sweep: Sweep) -> RateGrid:
    assert sweep.spec is not None and sweep.spec.lr_grid is not None
    return sweep.spec.lr_grid


def _said(choice: RateChoice) -> str:
    """What an arm got and why: a tie is no finding."""
    got = f"trainer.lr={choice.chosen:g}"
    if not choice.tied:
        return f"{got}, best on {SPLIT}" + (" (at the grid's edge)" if choice.edge else "")
    others = ", ".join(f"{rate:g}" for rate in choice.tied)
    return f"{got}, the smallest of a tie on {SPLIT} with {others}: the pilot does not tell them apart"


def choose(pilot: Sweep, grid: RateGrid) -> list[RateChoice]:
    """The best rate of each arm. A rate with a run that has no evaluation is out of the running.

    Raises ConfigError for an arm without a rate whose runs have all finished.
    """
    tried: dict[str, dict[str, dict[str, float]]] = {}
    for job in pilot.jobs:
        levels = dict(job.levels)
        rate = f"{float(levels.pop(_rate_key(pilot))):g}"
        found = tried.setdefault(arm_key(levels), {}).setdefault(rate, {})
        if (score := _score(job)) is not None:
            found[str(job.config.seed)] = score
    return [_choice(arm, rates, grid) for arm, rates in tried.items()]


def rates_of(choices: Sequence[RateChoice]) -> dict[str, float]:
    return {choice.arm: choice.chosen for choice in choices}


def _choice(arm: str, tried: dict[str, dict[str, float]], grid: RateGrid) -> RateChoice:
    means = {float(rate): fmean(by.values()) for rate, by in tried.items() if len(by) == len(grid.seeds)}
    if not means:
        raise ConfigError(
            f"ablation.lr_grid: no learning rate of the arm {arm or 'all runs'} has finished runs for seeds "
            f"{', '.join(map(str, grid.seeds))}; launch again, or give smaller rates"
        )
    chosen = max(sorted(means), key=lambda rate: means[rate])
    tied = [rate for rate in sorted(means) if rate != chosen and means[rate] == means[chosen]]
    # Of a tie neither end says that a better rate lies beyond it.
    edge = not tied and chosen in (min(grid.rates), max(grid.rates))
    return RateChoice(arm=arm, tried=tried, chosen=chosen, edge=edge, tied=tied)


def _score(job: Job) -> float | None:
    """avg@k of a finished run's last checkpoint on the validation split."""
    record = finished(job.config)
    if record is None:
        return None
    folder = evaluation_folders(job.config, run_folder(job.config), record.steps_done)[0]
    for path in sorted(folder.glob("*.json")):
        try:
            evaluation = read_eval(path)
        except RecordError:
            continue
        if evaluation.split == SPLIT:
            return fmean(fmean(row) for row in evaluation.correct)
    return None
