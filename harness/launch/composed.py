"""Checks of what Hydra composed from files: sections, names, sizes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from harness.schema.explain import did_you_mean
from harness.schema.presets import yaml_of
from harness.schema.run_config import ConfigError

MAX_YAML_VALUES = 100_000  # of one file, its aliases written out
GENERIC = ("jsonl", "hub", "function", "code")  # data of the user's own, which may be called anything


def take_choices(config: DictConfig) -> dict[str, str]:
    """Take Hydra's own node out of a composed config; return the option of each group that made it."""
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    OmegaConf.set_struct(config, True)
    assert isinstance(choices, dict)
    return {str(group): str(option) for group, option in choices.items()}


def check_sections(config: DictConfig, choices: Mapping[str, str], groups: Sequence[str]) -> None:
    """Raises ConfigError for a group that a file gives a plain value, `objective: dapo`."""
    for group in set(groups) & set(choices):
        value = config.get(group)
        if value is not None and not OmegaConf.is_config(value):
            raise ConfigError(
                f"{group}={value}: {group} is a group, and a file sets its fields; to choose an option write "
                f"`defaults: [{{override /{group}: {value}}}]`"
            )


def check_name(config: Any, group: str, file: Path, options: Callable[[], list[str]]) -> None:
    """Raises ConfigError for a section with the name of another option of its group than the chosen one.

    A file that writes `objective: {name: dapo}` sets the name alone, and one copied from grpo.yaml may still
    have its name: the run would be called what it is not.
    """
    section, option = config.get(group), file.stem
    name = section.get("name") if OmegaConf.is_dict(section) else None
    if name == option or name not in options():
        return
    own = yaml_of(file)
    if isinstance(own, Mapping) and own.get("name") == name:
        raise ConfigError(f"{file}: name: {name} is the name of another option; write name: {option}")
    if group == "objective" or (group == "data" and option not in GENERIC):
        raise ConfigError(
            f"{group}.name={name}: the option is {option}, and {name} is another; choose it, {group}={name}, "
            f"in a file `defaults: [{{override /{group}: {name}}}]`; or give this one a name of its own"
        )


def check_only_name(config: DictConfig, file: Path, options: list[str]) -> None:
    """Raises ConfigError where files changed nothing in the objective but its name, as a slip does."""
    section, own = config.get("objective"), yaml_of(file)
    if (
        not OmegaConf.is_dict(section)
        or not isinstance(own, Mapping)
        or section.get("name") == own.get("name")
    ):
        return
    values = OmegaConf.to_container(section)
    assert isinstance(values, dict)
    if {**values, "name": None} == {**own, "name": None}:
        name = str(section.get("name"))
        hint = "" if name in options else did_you_mean(name, options)
        raise ConfigError(
            f"objective.name={name}: only the name is set, the slots are those of {file.stem}; set slots, or "
            f"choose an option, in a file by `defaults: [{{override /objective: {name}}}]`{hint}"
        )


def check_size(path: Path) -> None:
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
