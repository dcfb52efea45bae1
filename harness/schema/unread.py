"""Settings that no part of a run reads, by the tables `used` of the schema's sections. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from omegaconf import OmegaConf

from harness.schema.presets import CONF
from harness.schema.run_config import RunConfig
from harness.schema.section import Section, Used


@dataclass(frozen=True)
class Unread:
    """A setting with a value of its own that nothing reads: one line, an error unless `warn`."""

    path: str
    message: str
    warn: bool


def unread(configs: Sequence[RunConfig]) -> list[Unread]:
    """The settings that none of these runs reads though some give them a value, each once."""
    found: dict[str, Unread] = {}
    read: set[str] = set()
    for config in configs:
        for path, section, field, rule in _ruled(config):
            if rule.when(section, config):
                read.add(path)
            elif not _is_idle(path, section, field, rule):
                value = getattr(section, field)
                shown = "..." if isinstance(value, Section) else _shown(value)
                text = (
                    f"{path}={shown}: nothing reads it, since {rule.otherwise.format(c=section, run=config)}"
                )
                found.setdefault(path, Unread(path, text, rule.warn))
    return [one for path, one in found.items() if path not in read]


def _ruled(run: RunConfig) -> Iterator[tuple[str, Section, str, Used[Any]]]:
    """(path, section, field, rule) of each setting of a run that has a rule."""
    for prefix, section in _sections(run, ""):
        for rule in section.used:
            for field in rule.fields:
                yield f"{prefix}{field}", section, field, rule


def _sections(section: Section, prefix: str) -> Iterator[tuple[str, Section]]:
    yield prefix, section
    for name in type(section).model_fields:
        value = None if name in section.composed else getattr(section, name)
        inner = value if isinstance(value, Mapping) else {"": value}
        for key, part in inner.items():
            if isinstance(part, Section):
                yield from _sections(part, f"{prefix}{name}.{key}." if key else f"{prefix}{name}.")


def _is_idle(path: str, section: Section, field: str, rule: Used[Any]) -> bool:
    """Whether a value says nothing: the schema's default, that of conf/, or one that presets set."""
    value = getattr(section, field)
    if value == type(section).model_fields[field].get_default() or value in rule.idle:
        return True
    default: Any = _conf_defaults()
    for word in path.split("."):
        default = default.get(word) if isinstance(default, Mapping) else None
    if isinstance(default, str) and "${oc.env:" in default:  # a variable of the environment, or else a value
        default = OmegaConf.create([default])[0]
    if isinstance(value, Section) and isinstance(default, Mapping) and default:
        default = type(value).model_validate(default)
    return value == default


@lru_cache
def _conf_defaults() -> dict[str, Any]:
    """What conf/ sets in every run: its top level, and the groups with an option `default`."""
    found = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    groups = {
        path.parent.name: yaml.safe_load(path.read_text("utf-8")) for path in CONF.glob("*/default.yaml")
    }
    return {**found, **groups}


def _shown(value: object) -> str:
    """The value as a user types it."""
    text = f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)
    return text.lower() if isinstance(value, bool) else text
