"""From command-line overrides to validated configs: one run, or every run of a sweep. Imports no torch.

Hydra composes; each distinct choice of groups is composed once and plain values are set on copies of it, so a
hundred runs take seconds. Everything a user can get wrong is checked here, before anything starts.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.identity import run_id
from harness.launch.ablation import (
    AblationSpec,
    arm_key,
    check_checkpoint,
    check_fixed,
    levels_of,
    own_lines,
    read_spec,
)
from harness.launch.job_checks import check_jobs
from harness.launch.jobs import Job
from harness.launch.levels import choose, control_levels, is_named, lines_of
from harness.schema.presets import weighed, with_components
from harness.schema.run_config import ConfigError, RunConfig, did_you_mean, validate
from harness.schema.settings import is_setting, nearest

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = tuple(sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "hydra"))

OPTIONAL = ("experiment", "ablation")


@dataclass(frozen=True)
class Sweep:
    """Every run of an ablation. `factors` maps a name to its level labels; `seed` is kept apart."""

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

    def run_id_of(self, levels: dict[str, str], seed: str, earlier: dict[str, float]) -> str | None:
        """The run of these levels and this seed under the sweep's other settings; None: no such arm.

        `earlier` are learning rates that a pilot chose for arms that are not of this sweep.
        """
        chosen = [self.lines[name].get(label, [f"{name}={label}"]) for name, label in levels.items()]
        lines = [line for level in chosen for line in level]
        rates = None if self.rates is None else earlier | self.rates
        if rates is not None and arm_key(levels) not in rates:
            return None
        lines += own_lines(self.spec, rates, levels)
        try:
            return run_id(self.composer.config([*self.fixed, *lines, f"seed={seed}"]))
        except ConfigError:
            return None


class Composer:
    """Hydra's compose with a memory: one composition for each distinct choice of groups."""

    def __init__(self, config_dir: str | None = None) -> None:
        self.extra = Path(config_dir).absolute() if config_dir else None
        if self.extra and not self.extra.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        self.search = [f"hydra.searchpath=[file://{self.extra}]"] if self.extra else []
        self.cache: dict[tuple[str, ...], DictConfig] = {}

    def options(self, group: str) -> list[str]:
        roots = [CONF, *([self.extra] if self.extra else [])]
        return sorted({p.stem for root in roots for p in (root / group).glob("*.yaml")})

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Raises ConfigError for a malformed override, or one that names no group, option or field."""
        parsed = self.syntax(overrides)
        for override in parsed:
            self.check(override)
        return parsed

    def syntax(self, overrides: Sequence[str]) -> list[Override]:
        try:
            return OverridesParser.create().parse_overrides(list(overrides))
        except HydraException as error:
            raise ConfigError(str(error).splitlines()[0] + "; overrides look like trainer.steps=10") from None

    def check(self, override: Override, factors: Sequence[str] = ()) -> None:
        """`factors` are other names that would have been known here, for the message."""
        key = override.key_or_group
        if key.split("/")[0].split(".")[0] == "hydra":
            return
        if key in GROUPS:
            for value in _values(override):
                if (value != "null" or key not in OPTIONAL) and value not in self.options(key):
                    raise ConfigError(
                        f"{key}={value}: no such option{did_you_mean(value, self.options(key))}"
                    )
        elif not is_setting(key):
            raise ConfigError(f"{override.input_line}: no setting {key}{nearest(key, [*GROUPS, *factors])}")

    def raw(self, overrides: Sequence[str]) -> DictConfig:
        """The composed config, unresolved. Group choices hit Hydra; plain values are set on a copy."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        plain = [o for o in parsed if o.key_or_group not in GROUPS and _is_plain(o)]
        groups = tuple(line for o, line in zip(parsed, overrides, strict=True) if o not in plain)
        if groups not in self.cache:
            self.cache[groups] = self._hydra(groups)
        config = self.cache[groups].copy()
        for override in plain:
            key, value = override.key_or_group, override.value()
            whole = key == "data.components"  # they are given together, and then changed one by one
            value = weighed(value) if whole else value
            OmegaConf.update(config, key, value, merge=not whole, force_add=True)
        return config

    def _hydra(self, overrides: Sequence[str]) -> DictConfig:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                return compose("config", overrides=[*self.search, *overrides])
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(" ".join(str(error).split("\n")[:2])) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}") from None

    def config(self, overrides: Sequence[str]) -> RunConfig:
        """Compose and validate one run."""
        try:
            data = OmegaConf.to_container(self.raw(overrides), resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"{error.full_key or ''}: {first}; give it on the command line") from None
        assert isinstance(data, dict)
        folders = [root / "data" for root in (CONF, self.extra) if root]
        try:
            data["data"] = with_components(data["data"], folders)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return validate({str(key): value for key, value in data.items() if key != "ablation"})


def expand(
    overrides: Sequence[str],
    *,
    multirun: bool,
    config_dir: str | None = None,
    rates: dict[str, float] | None = None,
) -> Sweep:
    """Every run that the overrides ask for, composed and validated. A single run is a sweep of one.

    `rates` are the learning rates that a pilot chose, by `arm_key` (harness/launch/pilot.py).
    Raises ConfigError: one line with field, value and remedy.
    """
    composer = Composer(config_dir)
    lines = list(zip(composer.syntax(overrides), overrides, strict=True))
    levels = [o for o, _ in lines if _may_choose(o)]
    lines = [(o, line) for o, line in lines if o not in levels]
    composer.parse([line for _, line in lines])
    launcher = [line for o, line in lines if o.key_or_group.startswith("hydra")]
    rest = [(o, line) for o, line in lines if line not in launcher]
    swept = {o.key_or_group: _values(o) for o, _ in rest if len(_values(o)) > 1 or o.is_sweep_override()}
    fixed = [line for o, line in rest if o.key_or_group not in swept]
    raw = OmegaConf.to_container(composer.raw(fixed))
    spec = read_spec(raw.get("ablation"))  # type: ignore[union-attr]
    chosen = {o.key_or_group for o, _ in rest}
    factors = {k: v for k, v in _declared(composer, spec, levels).items() if k not in chosen}
    if swept and not (multirun or spec):
        key, values = next(iter(swept.items()))
        raise ConfigError(f"{key}={','.join(values)}: several values need a sweep; add -m")
    factors |= {key: list(values) for key, values in swept.items() if key != "seed"}
    seeds = swept.get("seed") or ([str(s) for s in spec.seeds] if spec and "seed" not in chosen else [])
    jobs = [
        _job(composer, fixed, levels, seed, spec, rates)
        for levels in itertools.product(*(levels_of(k, v) for k, v in factors.items()))
        for seed in (*seeds, *([] if seeds else [None]))
    ]
    check_jobs(jobs)
    if spec is not None:
        check_fixed(spec, [job.config for job in jobs if job.config.seed == jobs[0].config.seed])
        check_checkpoint(spec, [job.config for job in jobs])
    labels = {name: [label for _, label, _ in levels_of(name, levels)] for name, levels in factors.items()}
    bases = {(job.config.model.name, job.config.base_seed) for job in jobs}
    return Sweep(
        question=spec.question
        if spec
        else f"What changes with {', '.join(labels)}?"
        if labels
        else "One arm.",
        factors=labels,
        seeds=sorted({job.config.seed for job in jobs}),
        control=control_levels(spec, labels),
        primary=spec.primary.model_dump(exclude_none=True) if spec and spec.primary else {},
        jobs=jobs,
        shared_base=len(bases) < len({(job.config.model.name, job.config.seed) for job in jobs}),
        launcher=launcher,
        fixed=fixed,
        lines=lines_of(spec, factors),
        composer=composer,
        spec=spec,
        rates=rates,
    )


def _declared(
    composer: Composer, spec: AblationSpec | None, levels: Sequence[Override]
) -> dict[str, list[Any] | dict[str, list[str]]]:
    """The ablation's factors; of those in `levels`, the levels that the command line chooses."""
    factors = {} if spec is None else dict(spec.factors)
    for override in levels:
        name = override.key_or_group
        if spec is None or not is_named(spec, name):
            composer.check(override, [k for k in factors if is_named(spec, k)])
        else:
            factors[name] = choose(spec, name, _values(override))
    return factors


def _job(
    composer: Composer,
    fixed: Sequence[str],
    levels: Sequence[Any],
    seed: str | None,
    spec: AblationSpec | None,
    rates: dict[str, float] | None,
) -> Job:
    labels = {name: label for name, label, _ in levels}
    lines = [*fixed, *(line for _, _, extra in levels for line in extra)]
    lines += own_lines(spec, rates, labels)
    lines += [f"seed={seed}"] if seed is not None else []
    composer.parse([line for _, _, extra in levels for line in extra])
    try:
        return Job(tuple(lines), labels, composer.config(lines))
    except ConfigError as error:
        arm = ", ".join(f"{k}={v}" for k, v in labels.items())
        raise ConfigError(f"{error} (in the arm {arm})" if arm else str(error)) from None


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    value = override.value()
    values = value if isinstance(value, list) and _may_choose(override) else [value]
    return ["null" if v is None else str(v) for v in values]


def _may_choose(override: Override) -> bool:
    """Whether it names neither group nor setting, and so perhaps a factor of the ablation."""
    key = override.key_or_group
    known = key in GROUPS or is_setting(key) or key.split("/")[0].split(".")[0] == "hydra"
    return not known and _is_plain(override)


def _is_plain(override: Override) -> bool:
    return not (override.is_add() or override.is_delete() or override.key_or_group.startswith("hydra"))


def command_line(overrides: Sequence[str]) -> str:
    """The command that runs these overrides again."""
    return "python -m harness " + " ".join(shlex.quote(line) for line in overrides)
