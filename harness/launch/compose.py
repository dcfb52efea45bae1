"""From command-line overrides to one validated config, by Hydra. Imports no torch.

Each distinct choice of groups is composed once, and plain values are set on copies of it, so that a hundred
runs take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.schema.presets import CONF, weighed, with_components
from harness.schema.run_config import ConfigError, RunConfig, did_you_mean, validate
from harness.schema.settings import is_setting, nearest

GROUPS = tuple(sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "hydra"))

OPTIONAL = ("experiment", "ablation")


class Composer:
    """Hydra's compose with a memory: one composition for each distinct choice of groups."""

    def __init__(self, config_dir: str | None = None) -> None:
        self.extra = Path(config_dir).absolute() if config_dir else None
        if self.extra and not self.extra.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        self.search = [f"hydra.searchpath=[file://{self.extra}]"] if self.extra else []
        self.cache: dict[tuple[str, ...], DictConfig] = {}

    def options(self, group: str) -> list[str]:
        """The options of a group: the YAML files of conf/ and of the user's own folder."""
        roots = [CONF, *([self.extra] if self.extra else [])]
        return sorted({p.stem for root in roots for p in (root / group).glob("*.yaml")})

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Raises ConfigError for a malformed override, or one that names no group, option or field."""
        parsed = self.syntax(overrides)
        for override in parsed:
            self.check(override)
        return parsed

    def syntax(self, overrides: Sequence[str]) -> list[Override]:
        """Parse overrides without looking at what they name. Raises ConfigError for a malformed one."""
        try:
            return OverridesParser.create().parse_overrides(list(overrides))
        except HydraException as error:
            raise ConfigError(str(error).splitlines()[0] + "; overrides look like trainer.steps=10") from None

    def check(self, override: Override, factors: Sequence[str] = ()) -> None:
        """Raise ConfigError for an override that names no group, option or field.

        `factors` are other names that a user may have meant, for the message.
        """
        key = override.key_or_group
        if key.split("/")[0].split(".")[0] == "hydra":
            return
        if key in GROUPS:
            for value in values(override):
                if (value != "null" or key not in OPTIONAL) and value not in self.options(key):
                    raise ConfigError(
                        f"{key}={value}: no such option{did_you_mean(value, self.options(key))}"
                    )
        elif not is_setting(key):
            raise ConfigError(f"{override.input_line}: no setting {key}{nearest(key, [*GROUPS, *factors])}")

    def raw(self, overrides: Sequence[str]) -> DictConfig:
        """The composed config, unresolved. Group choices hit Hydra; plain values are set on a copy."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        plain = [o for o in parsed if o.key_or_group not in GROUPS and is_plain(o)]
        none = [o for o in parsed if o.key_or_group in OPTIONAL and values(o) == ["null"]]  # as without it
        groups = tuple(line for o, line in zip(parsed, overrides, strict=True) if o not in [*plain, *none])
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


def values(override: Override) -> list[str]:
    """Every value that an override gives its key, as text."""
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    value = override.value()
    given = value if isinstance(value, list) and may_choose(override) else [value]
    return ["null" if v is None else str(v) for v in given]


def may_choose(override: Override) -> bool:
    """Whether it names neither a group nor a setting, and so perhaps a factor of the ablation."""
    key = override.key_or_group
    known = key in GROUPS or is_setting(key) or key.split("/")[0].split(".")[0] == "hydra"
    return not known and is_plain(override)


def is_plain(override: Override) -> bool:
    """Whether it only sets a value: it adds and deletes nothing, and is not Hydra's own."""
    return not (override.is_add() or override.is_delete() or override.key_or_group.startswith("hydra"))
