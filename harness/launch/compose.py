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
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.launch.syntax import MAX_RUNS, parse, swept_values
from harness.schema.own_function import freeze
from harness.schema.presets import CONF, weighed, with_components, with_own_presets
from harness.schema.run_config import ConfigError, RunConfig, did_you_mean, validate
from harness.schema.settings import is_setting, nearest, suggestion

GROUPS = tuple(sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "hydra"))

OPTIONAL = ("experiment", "ablation")
MAX_YAML_VALUES = 100_000  # of one file, its aliases written out


class Composer:
    """Hydra's compose with a memory: one composition for each distinct choice of groups."""

    def __init__(self, config_dir: str | None = None, *, max_runs: int = MAX_RUNS) -> None:
        self.max_runs = max_runs
        self.extra = Path(config_dir).absolute() if config_dir else None
        if self.extra and not self.extra.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        # What a command needs to find the same groups again.
        self.flags = [f"--config-dir={config_dir}"] if config_dir else []
        self.search = [f"hydra.searchpath=[file://{self.extra}]"] if self.extra else []
        self.cache: dict[tuple[str, ...], DictConfig] = {}
        self.defaults: dict[str, None] = {}  # overrides that pretrained models of this launch called for
        for path in sorted(self.extra.glob("*/*.yaml")) if self.extra else []:
            _check_size(path)

    def options(self, group: str) -> list[str]:
        """The options of a group: the YAML files of conf/ and of the user's own folder."""
        roots = [CONF, *([self.extra] if self.extra else [])]
        return sorted({p.stem for root in roots for p in (root / group).glob("*.yaml")})

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Raises ConfigError for a malformed override, or one that names no group, option or field."""
        parsed = parse(overrides)
        for override in parsed:
            self.check(override)
        return parsed

    def file(self, group: str, option: str) -> Path:
        """The YAML file of a group's option; conf/ comes before the user's own folder."""
        own = self.extra / group / f"{option}.yaml" if self.extra else None
        path = CONF / group / f"{option}.yaml"
        return own if own is not None and not path.exists() else path

    def values(self, override: Override) -> list[str]:
        """Every value that an override gives its key, as text. Raises ConfigError for a sweep without."""
        key = override.key_or_group
        if override.is_sweep_override():
            options = self.options(key) if key in GROUPS else []
            return swept_values(override, options, max_runs=self.max_runs)
        value = override.value()
        given = value if isinstance(value, list) and may_choose(override) else [value]
        return ["null" if v is None else str(v) for v in given]

    def check(self, override: Override, factors: Sequence[str] = ()) -> None:
        """Raise ConfigError for an override that names no group, option or field.

        `factors` are other names that a user may have meant, for the message.
        """
        key = override.key_or_group
        if key.split("/")[0].split(".")[0] == "hydra":
            return
        if key in GROUPS:
            for value in self.values(override):
                if (value != "null" or key not in OPTIONAL) and value not in self.options(key):
                    hint = suggestion(key, value) or did_you_mean(value, self.options(key))
                    raise ConfigError(f"{key}={value}: no such option{hint}")
        elif not is_setting(key):
            raise ConfigError(f"{override.input_line}: no setting {key}{nearest(key, [*GROUPS, *factors])}")

    def raw(self, overrides: Sequence[str]) -> DictConfig:
        """The composed config, unresolved. Group choices hit Hydra; plain values are set on a copy."""
        parsed = parse(overrides)
        plain = [o for o in parsed if o.key_or_group not in GROUPS and is_plain(o)]
        none = [
            o for o in parsed if o.key_or_group in OPTIONAL and self.values(o) == ["null"]
        ]  # as without it
        groups = tuple(line for o, line in zip(parsed, overrides, strict=True) if o not in [*plain, *none])
        chosen = {
            o.key_or_group: str(o.value()) for o in parsed if o.key_or_group in OPTIONAL and o not in none
        }
        if groups not in self.cache:
            self.cache[groups] = self._hydra(groups)
            self._check_package(self.cache[groups], chosen)
        config = self.cache[groups].copy()
        for override in plain:
            key, value = override.key_or_group, override.value()
            whole = key == "data.components"  # they are given together, and then changed one by one
            value = weighed(value) if whole else value
            try:
                OmegaConf.update(config, key, value, merge=not whole, force_add=True)
            except (OmegaConfBaseException, ValueError, TypeError, AttributeError):
                raise ConfigError(f"{override.input_line}: no value of {key}; see it with --config") from None
        return config

    def _check_package(self, config: DictConfig, chosen: dict[str, str]) -> None:
        """Raises ConfigError for an overlay whose content stands under its group's name."""
        for group, option in chosen.items():
            node = config.get(group)
            if node is not None and (group != "ablation" or (OmegaConf.is_dict(node) and "ablation" in node)):
                raise ConfigError(
                    f"{self.file(group, option)}: its first line must be `# @package _global_`, so that it "
                    "sets other groups too"
                )

    def _hydra(self, overrides: Sequence[str]) -> DictConfig:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                return compose("config", overrides=[*self.search, *overrides])
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(" ".join(str(error).split("\n")[:2])) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise ConfigError(f"{' '.join(overrides)}: nested too deeply; write it flatter") from None

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
            data["eval"] = with_own_presets(data["eval"], folders)
            freeze({str(key): value for key, value in data.items()})
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return validate({str(key): value for key, value in data.items() if key != "ablation"})


def _check_size(path: Path) -> None:
    """Raises ConfigError for a file whose aliases make it huge. Bad YAML is named where it is chosen."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError):
        return
    sizes: dict[int, int] = {}

    def size(node: yaml.Node | None) -> int:
        if node is None or isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in sizes:
            parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else [pair])]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if (number := size(root)) > MAX_YAML_VALUES:
        raise ConfigError(f"{path}: {number:,} values once its aliases are written out; use fewer")


def may_choose(override: Override) -> bool:
    """Whether it names neither a group nor a setting, and so perhaps a factor of the ablation."""
    key = override.key_or_group
    known = key in GROUPS or is_setting(key) or key.split("/")[0].split(".")[0] == "hydra"
    return not known and is_plain(override)


def is_plain(override: Override) -> bool:
    """Whether it only sets a value: it adds and deletes nothing, and is not Hydra's own."""
    return not (override.is_add() or override.is_delete() or override.key_or_group.startswith("hydra"))
