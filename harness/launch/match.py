"""Steps of each arm, set so that it spends what its control does. Imports no torch.

Samples and updates a step stand in the config. FLOPs are measured: a short run of each arm, in a study of its
own that is not reported, whose sampling and training FLOPs a step are taken. They change a little as outputs
change length, so the arms table of the report shows what was spent in the end.

A pipeline's budget is that of all its stages, its teacher's stages and sampling included, and its last
stage's steps are set. For FLOPs the stages before are run in full at one seed, and the short run begins from
them. Pretraining, of a base or of a teacher that is one, is in no budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from harness.identity import run_folder
from harness.launch.ablation import AblationSpec, arm_key, levels_of
from harness.launch.expand import Sweep, expand
from harness.launch.jobs import Functions, Job
from harness.launch.pipeline import LAST, key_of
from harness.launch.seed_rule import without_until
from harness.launch.status import finished
from harness.launch.sweep import run_sweep
from harness.records.lines import read_metrics
from harness.records.records import read_run
from harness.schema.run_config import ConfigError
from harness.schema.settings import STAGE_SETTING

STEPS = 2  # of a measuring run


@dataclass(frozen=True)
class ArmBudget:
    """An arm's cost a step, in samples, updates or FLOPs, its steps, and its budget over its control's."""

    arm: str
    control: str
    a_step: float
    steps: int
    share: float


def check_match(spec: AblationSpec | None, jobs: Sequence[Job]) -> None:
    """Raises ConfigError where the number of steps cannot be set, or the budget is not known beforehand."""
    if spec is None or spec.match is None:
        return
    configs = [job.config for job in jobs]
    lines = [line for name, v in spec.factors.items() for _, _, ls in levels_of(name, v) for line in ls]
    if any(line.startswith(("trainer.steps=", "trainer=")) for line in lines):
        raise ConfigError(
            f"ablation.match={spec.match} with trainer.steps set by a factor; drop one of the two"
        )
    if spec.lr_grid is not None and spec.lr_grid.select == "pooled":
        raise ConfigError(
            f"ablation.match={spec.match} with lr_grid.select=pooled, whose pilot has other steps; "
            "let each seed choose its rate (select: per_seed), or drop match"
        )
    for objective, search in ((config.objective, config.rollout.search) for config in configs):
        where = f"ablation.match={spec.match} with objective={objective.name}"
        if objective.uses_references or (objective.offline is not None and spec.match == "updates"):
            raise ConfigError(
                f"{where}: its updates are epochs over "
                + ("reference solutions" if objective.uses_references else "what is accepted")
                + ", and trainer.steps does not set them; drop the arm, or match"
            )
        if spec.match == "samples" and search is not None:
            raise ConfigError(
                f"ablation.match=samples with rollout.search={search.fn}, which samples tokens by its "
                f"budget and not outputs; use match: flops or updates, or set trainer.steps and the budgets"
            )
        if spec.match == "samples" and objective.selection.fn == "dynamic":
            raise ConfigError(
                f"{where}: selection.fn=dynamic samples until groups differ, how often is not known "
                "beforehand; use match: flops"
            )


def measuring_sweep(sweep: Sweep, overrides: Sequence[str], *, config_dir: str | None) -> Sweep:
    """One short run of each arm, at the first seed and at one learning rate."""
    first = sweep.jobs[0].config
    last = f"{STAGE_SETTING}{LAST}."  # of a run without a pipeline its own
    own = {
        f"{last}trainer.warmup_steps": "0",
        f"{last}trainer.lr": f"{first.trainer.lr:g}",
        "seed": f"{first.seed}",
        "study": f"{first.study}_match",
        "eval.splits": f"[{','.join(first.eval.splits[:1])}]",
        "eval.k": "1",
        "eval.greedy": "false",
        **dict.fromkeys(
            (
                *("eval.at_steps", "eval.rerank", "eval.base_templates", "eval.benchmarks"),
                *("eval.lm_eval", "eval.search"),
            ),
            "[]",
        ),
    }
    replaced = {*own, f"{last}trainer.steps"}  # what every stage has is that of the stages before, too
    lines = [line for line in without_until(overrides) if key_of(line) not in replaced]
    lines += [f"{key}={value}" for key, value in own.items()]
    short = [{"arm": arm_key(job.levels), "steps": STEPS} for job in sweep.jobs]
    return expand(lines, multirun=True, config_dir=config_dir, max_runs=sweep.composer.max_runs, match=short)


def matched_sweep(
    sweep: Sweep, overrides: Sequence[str], *, config_dir: str | None, functions: Functions | None
) -> Sweep:
    """The sweep with each arm's steps set; unchanged without `match`.

    `functions` None starts nothing: where arms are not measured yet the sweep stays as it is. Raises
    ConfigError for an arm whose measuring run did not finish.
    """
    spec = sweep.spec
    if spec is None or spec.match is None:
        return sweep
    jobs, costs = {arm_key(job.levels): job for job in sweep.jobs}, _costs(sweep.jobs, spec.match)
    if spec.match == "flops":
        measuring = measuring_sweep(sweep, overrides, config_dir=config_dir)
        if functions is not None:
            run_sweep(measuring, overrides=overrides, functions=functions, reported=False)
        elif any(finished(job.config) is None for job in measuring.jobs):
            return sweep
        jobs = {arm_key(job.levels): job for job in measuring.jobs}
        costs = {arm: _flops_a_step(job) for arm, job in jobs.items()}
    budgets = _budgets(sweep, jobs, costs)
    return expand(
        overrides,
        multirun=True,
        config_dir=config_dir,
        max_runs=sweep.composer.max_runs,
        match=[asdict(budget) for budget in budgets],
    )


def _costs(jobs: Sequence[Job], match: str) -> dict[str, float]:
    """Samples or updates a step by arm, from the configs."""
    found = {}
    for job in jobs:
        rollout, updates = job.config.rollout, job.config.objective.updates
        if match == "samples":
            cost = rollout.prompts_per_step * rollout.group_size
        else:
            cost = updates.epochs * updates.minibatches
        found[arm_key(job.levels)] = float(cost)
    return found


def _spent_before(job: Job, apart_from: Job, match: str) -> float:
    """Cost of a pipeline's earlier stages, but for those that another arm has in common.

    Raises ConfigError for updates of an offline stage, whose number follows from what is accepted, and for
    samples of one that has none.
    """
    common = {stage.run_id for stage in apart_from.before}
    total = 0.0
    for stage in (stage for stage in job.before if stage.run_id not in common):
        if match == "flops":
            total += sum(read_run(run_folder(stage.config)).flops.values())
            continue
        if stage.config.objective.uses_references and match == "samples":
            continue  # it samples nothing
        if stage.config.objective.offline is not None and match == "updates":
            raise ConfigError(
                f"ablation.match=updates: the offline stage {stage.run_id} of {arm_key(job.levels)} is not "
                f"{arm_key(apart_from.levels)}'s too, and its updates are not known beforehand; use samples"
            )
        total += next(iter(_costs([stage], match).values())) * stage.config.trainer.steps
    return total


def _flops_a_step(job: Job) -> float:
    """Mean FLOPs of a measuring run's steps: sampling, scoring and training, without evaluation.

    A step of offline training is a batch of prompts, sampled and trained on for all epochs.
    """
    if finished(job.config) is None:
        raise ConfigError(
            f"ablation.match=flops: {run_folder(job.config)} measures {arm_key(job.levels)} and did not "
            "finish; see its run.json, and launch again"
        )
    if job.config.objective.offline is not None:
        return sum(read_run(run_folder(job.config)).flops.values()) / job.config.trainer.steps
    return fmean(row["flops"] for row in read_metrics(run_folder(job.config) / "metrics.jsonl"))


def _budgets(sweep: Sweep, jobs: Mapping[str, Job], costs: Mapping[str, float]) -> list[ArmBudget]:
    """Each arm's steps: those after which it has spent its control's budget, to the nearest step.

    The budget of a pipeline is that of all its stages; the steps are the last one's. `jobs` have the stages
    of each arm that were measured, `costs` are of a step.
    """
    steps = {arm_key(job.levels): job.config.trainer.steps for job in sweep.jobs}
    levels = {arm: job.levels for arm, job in jobs.items()}
    match = sweep.spec.match if sweep.spec and sweep.spec.match else ""
    factor = sweep.spec.primary.factor if sweep.spec and sweep.spec.primary else None
    found = []
    for arm, own in levels.items():
        changed = sweep.control if factor is None else {factor: sweep.control.get(factor, "")}
        control = arm_key({**own, **{k: v for k, v in changed.items() if k in own and v}})
        if control not in costs:
            raise ConfigError(
                f"ablation.match: {control}, the control of {arm}, is not among the arms that are launched: "
                "there is no budget to meet; launch them together"
            )
        before = _spent_before(jobs[arm], jobs[control], match)
        budget = costs[control] * steps[control] + _spent_before(jobs[control], jobs[arm], match)
        if before >= budget:
            raise ConfigError(
                f"ablation.match={match}: the stages before the last of {arm} spend {before:g} {match}, and "
                f"all of {control} {budget:g}; give them fewer steps"
            )
        mine = max(1, round((budget - before) / costs[arm]))
        found.append(ArmBudget(arm, control, costs[arm], mine, (before + costs[arm] * mine) / budget))
    return found
