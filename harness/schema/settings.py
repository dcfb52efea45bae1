"""The names of all settings as dotted paths, and the nearest to a name that is none. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from harness.schema.data_config import DataConfig
from harness.schema.run_config import RunConfig, did_you_mean
from harness.schema.section import Section

COMPONENT = "data.components."  # the names below it are the user's


def is_setting(key: str) -> bool:
    """Whether a dotted path is a field of the schema, or one of a mixture's component."""
    if key.startswith(COMPONENT):
        _, _, rest = key.removeprefix(COMPONENT).partition(".")
        return rest in ("", "preset") or rest in paths(DataConfig)
    return key in paths(RunConfig)


@lru_cache
def paths(kind: type[Section], prefix: str = "") -> tuple[str, ...]:
    """Every dotted path of a part of the schema; what is in a section's own kind is not followed."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        found.append(prefix + name)
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, Section) and inner is not kind:
                found += paths(inner, f"{prefix}{name}.")
    return tuple(found)


def nearest(key: str, groups: Sequence[str]) -> str:
    """`; did you mean ...?`, by the whole path or by its last word; "" where nothing is near."""
    known = list(dict.fromkeys([*groups, *paths(RunConfig)]))
    tails = {path.rsplit(".", 1)[-1]: path for path in known}
    hint = did_you_mean(key, known)
    if "did you mean" not in hint and (close := did_you_mean(key.rsplit(".", 1)[-1], list(tails))):
        names = [tails[word] for word in tails if f" {word}" in close.replace("?", " ")]
        hint = f"; did you mean {' or '.join(names)}?" if names and "did you mean" in close else ""
    return hint
