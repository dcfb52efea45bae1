"""Every run of a sweep, from command-line overrides, composed and validated. Imports no torch.

Everything that a user can get wrong is checked here, before anything starts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from harness.identity import run_id
from harness.launch.ablation import AblationSpec, arm_key, levels_of, own_lines, read_spec
from harness.launch.arm_checks import check_checkpoint, check_fixed
from harness.launch.compose import Composer, may_choose
from harness.launch.draws import drawn_configs
from harness.launch.job_checks import check_jobs
from harness.launch.jobs import Job, all_runs
from harness.launch.launcher_settings import shared_by
from harness.launch.levels import choose, control_levels, is_named, lines_of
from harness.launch.pipeline import STAGE, key_of
from harness.launch.rates import check_validation, rates_per_seed
from harness.launch.seed_rule import split_until
from harness.launch.syntax import MAX_RUNS, check_number, parse
from harness.schema.run_config import ConfigError

Factors = dict[str, list[Any] | dict[str, list[str]]]


@dataclass(frozen=True)
class Sweep:
    """Every run of an ablation. `factors` gives the level labels of each factor; seeds are not among them.

    `rates` are those that a pilot chose for each arm, `grid` those that every arm tries at every seed.
    `match` has each arm's steps where budgets are matched (harness/launch/match.py). `jobs` are one an arm,
    rate and seed; `runs` are all that they take, each stage of a pipeline once.
    """

    question: str
    factors: dict[str, list[str]]
    seeds: list[int]
    control: dict[str, str]
    primary: dict[str, Any]
    jobs: list[Job]
    shared_base: bool
    launcher: list[str]
    fixed: list[str]
    lines: dict[str, dict[str, list[str]]]
    composer: Composer
    spec: AblationSpec | None = None
    rates: dict[str, float] | None = None
    grid: tuple[float, ...] = ()
    match: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def runs(self) -> list[Job]:
        """Every run once, each after the one that it begins from."""
        return all_runs(self.jobs)

    def run_id_of(
        self,
        levels: dict[str, str],
        seed: str,
        earlier: dict[str, float],
        rate: str | None = None,
        steps: Mapping[str, int] | None = None,
    ) -> str | None:
        """The run of these levels and this seed under the sweep's other settings; None: no such arm.

        `earlier` are learning rates that a pilot chose for arms that are not of this sweep. `rate` is the one
        of a grid whose rates run at every seed; without it there is no such run in one. `steps` are those
        that were matched for arms that are not of this sweep.
        """
        if bool(self.grid) != (rate is not None):
            return None
        chosen = [self.lines[name].get(label, [f"{name}={label}"]) for name, label in levels.items()]
        lines = [line for level in chosen for line in level]
        rates = None if self.rates is None else earlier | self.rates
        if rates is not None and arm_key(levels) not in rates:
            return None
        number = {**(steps or {}), **_steps(self.match)}.get(arm_key(levels)) if self.match else None
        tried, draws = None if rate is None else float(rate), self.spec.draws if self.spec else "shared"
        try:
            lines, stages = self.composer.stages([*self.fixed, *lines])
            lines += own_lines(self.spec, rates, levels, tried, number, stages[-1] if stages else None)
            return run_id(drawn_configs(self.composer, draws, [*lines, f"seed={seed}"])[1][-1])
        except ConfigError:
            return None


@dataclass(frozen=True)
class Overrides:
    """The command line, sorted by what each override does.

    `levels` may choose levels of an ablation's factors, `launcher` sets up Hydra's launcher, `swept` gives a
    key several values, `fixed` is the same in every run. `keys` names everything in `swept` and `fixed`.
    `until` is the rule by which seeds are added, as given.
    """

    levels: list[Override]
    launcher: list[str]
    swept: dict[str, list[str]]
    fixed: list[str]
    keys: set[str]
    until: Any = None


def expand(
    overrides: Sequence[str],
    *,
    multirun: bool,
    config_dir: str | None = None,
    rates: dict[str, float] | None = None,
    max_runs: int = MAX_RUNS,
    match: Sequence[dict[str, Any]] = (),
    num_seeds: int | None = None,
) -> Sweep:
    """Every run that the overrides ask for, composed and validated. A single run is a sweep of one.

    `rates` are the learning rates that a pilot chose, by `arm_key` (harness/launch/pilot.py). `num_seeds`:
    how many an ablation with `until` has now; None: those of its first look.
    Raises ConfigError: one line with field, value and remedy.
    """
    composer = Composer(config_dir, max_runs=max_runs)
    given = _sorted(composer, overrides)
    if (number := shared_by(composer, given.launcher)) > 1 and "trainer.processes" not in given.keys:
        given.fixed.append(f"trainer.processes={number}")  # sums in another order give other numbers
    raw: Any = OmegaConf.to_container(composer.raw(given.fixed))
    own = "seed" in given.keys
    spec = read_spec(raw.get("ablation"), _ablation_file(composer, given), given.until, own_seeds=own)
    factors = _factors(composer, spec, given, multirun=multirun)
    grid = rates_per_seed(spec.lr_grid if spec else None, given.keys)
    jobs = _jobs(composer, spec, given, factors, rates, grid, _steps(match), num_seeds)
    check_jobs(jobs)
    check_validation(grid, [job.config for job in jobs])
    if spec is not None:
        check_fixed(spec, [job.config for job in jobs if job.config.seed == jobs[0].config.seed])
        check_checkpoint(spec, [job.config for job in jobs])
    labels = {name: [label for _, label, _ in levels_of(name, levels)] for name, levels in factors.items()}
    return Sweep(
        question=_question(spec, labels),
        factors=labels,
        seeds=sorted({job.config.seed for job in jobs}),
        control=control_levels(spec, labels),
        primary=spec.primary.model_dump(exclude_none=True) if spec and spec.primary else {},
        jobs=jobs,
        shared_base=_share_bases(jobs, composer, spec),
        launcher=given.launcher,
        fixed=given.fixed,
        lines=lines_of(spec, factors),
        composer=composer,
        spec=spec,
        rates=rates,
        grid=tuple(grid),
        match=list(match),
    )


def _ablation_file(composer: Composer, given: Overrides) -> str:
    """The file of the chosen ablation, for messages."""
    chosen = [line.partition("=")[2] for line in given.fixed if line.lstrip("+").startswith("ablation=")]
    return str(composer.file("ablation", chosen[-1])) if chosen else "ablation"


def _sorted(composer: Composer, overrides: Sequence[str]) -> Overrides:
    """Raises ConfigError for what is malformed, or names no group, option or field."""
    until, overrides = split_until(overrides)
    parsed = list(zip(parse(overrides), overrides, strict=True))
    levels = [o for o, _ in parsed if may_choose(o)]
    composer.parse([line for o, line in parsed if o not in levels])
    launcher, rest = [], []
    for override, line in parsed:
        if override.key_or_group.startswith("hydra"):
            launcher.append(line)
        elif override not in levels:
            rest.append((override.key_or_group, override, line))
    several = {key: (composer.values(o), o.is_sweep_override()) for key, o, _ in rest}
    swept = {key: values for key, (values, is_sweep) in several.items() if len(values) > 1 or is_sweep}
    fixed = [line for key, _, line in rest if key not in swept]
    if named := swept.get("ablation"):
        raise ConfigError(f"ablation={','.join(named)}: a launch makes one study; launch one after another")
    return Overrides(levels, launcher, swept, fixed, {key for key, _, _ in rest}, until)


def _factors(composer: Composer, spec: AblationSpec | None, given: Overrides, *, multirun: bool) -> Factors:
    """The ablation's factors that the command line does not replace, then those that it sweeps."""
    declared = _declared(composer, spec, given.levels)
    if given.swept and not (multirun or spec):
        key, several = next(iter(given.swept.items()))
        raise ConfigError(f"{key}={','.join(several)}: several values need a sweep; add -m")
    factors = {name: levels for name, levels in declared.items() if name not in given.keys}
    return factors | {key: list(several) for key, several in given.swept.items() if key != "seed"}


def _declared(composer: Composer, spec: AblationSpec | None, levels: Sequence[Override]) -> Factors:
    """The ablation's factors, with the levels that the command line chooses where it names any."""
    factors: Factors = {} if spec is None else dict(spec.factors)
    for override in levels:
        name = override.key_or_group
        if spec is None or not is_named(spec, name):
            composer.check(override, [k for k in factors if is_named(spec, k)])
        else:
            factors[name] = choose(spec, name, composer.values(override))
    return factors


def _jobs(
    composer: Composer,
    spec: AblationSpec | None,
    given: Overrides,
    factors: Factors,
    rates: dict[str, float] | None,
    grid: Sequence[float],
    steps: Mapping[str, int],
    num_seeds: int | None,
) -> list[Job]:
    """A job for each arm, learning rate of the grid and seed, arm by arm."""
    seeds: Sequence[str | None] = given.swept.get("seed") or []
    rule = spec.seed_rule if spec else None
    if not seeds and spec is not None and "seed" not in given.keys:
        seeds = [str(seed) for seed in (rule.seeds[: num_seeds or rule.first] if rule else spec.seeds)]
    most = rule.max_seeds if rule else len(seeds or [None])
    counts = {name: len(levels) for name, levels in factors.items()} | {"seed": most}
    counts |= {"trainer.lr": len(grid)} if grid else {}
    product = " × ".join(f"{number} {name}" for name, number in counts.items())
    rates_to_try: Sequence[float | None] = grid or [None]
    check_number(math.prod(counts.values()), product, max_runs=composer.max_runs)
    return [
        _job(composer, given.fixed, levels, seed, spec, rates, rate, steps)
        for levels in itertools.product(*(levels_of(k, v) for k, v in factors.items()))
        for rate in rates_to_try
        for seed in seeds or [None]
    ]


def _job(
    composer: Composer,
    fixed: Sequence[str],
    levels: Sequence[Any],
    seed: str | None,
    spec: AblationSpec | None,
    rates: dict[str, float] | None,
    rate: float | None,
    steps: Mapping[str, int],
) -> Job:
    """Raises ConfigError, which names the arm."""
    labels = {name: label for name, label, _ in levels}
    lines = [*fixed, *(line for _, _, extra in levels for line in extra)]
    composer.parse([line for _, _, extra in levels for line in extra])
    try:
        lines, stages = composer.stages(lines)
        last = stages[-1] if stages else None
        own = own_lines(spec, rates, labels, rate, steps.get(arm_key(labels)), last)
        _check_own(lines, own, stages)
        lines += own
        lines += [f"seed={seed}"] if seed is not None else []
        lines, configs = drawn_configs(composer, spec.draws if spec else "shared", lines)
        before = tuple(
            Job((*(line for line in lines if not line.startswith(STAGE)), f"{STAGE}{name}"), labels, config)
            for name, config in zip(stages, configs[:-1], strict=False)
        )
        return Job(tuple(lines), labels, configs[-1], before)
    except ConfigError as error:
        arm = ", ".join(f"{k}={v}" for k, v in labels.items())
        raise ConfigError(f"{error} (in the arm {arm})" if arm else str(error)) from None


def _check_own(lines: Sequence[str], own: Sequence[str], stages: Sequence[str]) -> None:
    """Raises ConfigError where a level sets the rate or the steps that a grid or matching sets."""
    ours = {key_of(line) for line in own}
    if clash := [line for line in lines if stages and key_of(line) in ours]:
        raise ConfigError(f"{clash[0]}: lr_grid or match sets it for the last stage; drop one of the two")


def _steps(match: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Matched steps by `arm_key`."""
    return {row["arm"]: int(row["steps"]) for row in match}


def _question(spec: AblationSpec | None, labels: dict[str, list[str]]) -> str:
    if spec is not None:
        return spec.question
    return f"What changes with {', '.join(labels)}?" if labels else "One arm."


def _share_bases(jobs: Sequence[Job], composer: Composer, spec: AblationSpec | None) -> bool:
    """Whether some seeds of a model have one base in common, or of one seed's ablation another would."""
    configs = [job.config for job in jobs]
    if spec is not None and len({config.seed for config in configs}) == 1:
        lines = [line for line in jobs[0].overrides if not line.startswith("seed=")]
        configs.append(composer.config([*lines, f"seed={configs[0].seed + 1}"]))
        configs = [c for c in configs if c.model == configs[0].model]
    bases = {(c.model.name, c.base_seed if c.model.is_ladder else 0) for c in configs}
    return len(bases) < len({(c.model.name, c.seed) for c in configs})
