"""Say in a line what is wrong with settings that do not fit the schema. Imports no torch."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from harness.schema.corpus_config import BY_NAME, BY_PARTS
from harness.schema.section import Section, sections_in


def explain(error: ValidationError, root: type[Section], *, at: tuple[str, ...] = ()) -> str:
    """One line for the first three errors: field, value, remedy. `at`: where `root` has such data."""
    # A misspelt field makes others missing: it comes first.
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    slots = [e["loc"][-1] for e in found if e["type"] == "missing" and e["loc"][:-1] == ("objective",)]
    if len(slots) > 1:  # a YAML of the user's own: all slots at once, and a file that has them
        found = [e for e in found if e["type"] != "missing" or e["loc"][:-1] != ("objective",)]
        lacking = (
            f"objective: it lacks {', '.join(map(str, slots))}; conf/objective/grpo.yaml has every slot: "
            "begin from a copy"
        )
        return "; ".join([lacking, *(_explain(e, root, at) for e in found[:2])])
    return "; ".join(_explain(e, root, at) for e in found[:3])


def _explain(error: Any, root: type[Section], at: tuple[str, ...]) -> str:
    place = tuple(part for part in error["loc"] if part not in (BY_NAME, BY_PARTS))
    path = ".".join(str(part) for part in place)
    value = "null" if error["input"] is None else _shown(error["input"])
    if error["type"] == "extra_forbidden":
        known = _fields_at(root, (*at, *place[:-1]))
        return f"{path}: no such setting{did_you_mean(str(place[-1]), known)}"
    if error["type"] == "missing":
        return f"{path}: missing; give it as {path}=..."
    if error["type"] == "value_error":
        prefix = f"{path}." if path else ""
        return prefix + str(error["ctx"]["error"])
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "literal_error":
        allowed = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        near = did_you_mean(str(value), allowed)
        return f"{path}={value}: not one of {', '.join(allowed)}{near if 'did you mean' in near else ''}"
    if error["type"] == "model_type":
        fields = [f"{path}.{name}" for name in _fields_at(root, (*at, *place))]
        return f"{path}={value}: it holds settings of its own; set {' or '.join(fields[:2])}"
    if error["type"] == "greater_than":
        return f"{path}={value}: give a number greater than {error['ctx']['gt']:g}"
    return f"{path}={value}: {message}"


def _shown(value: Any) -> str:
    """A value as it is typed, and no whole dictionary."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 100 else f"{text[:60]}..."


def _fields_at(root: type[Section], location: tuple[Any, ...]) -> list[str]:
    kind: Any = root
    for part in location:
        if isinstance(part, int):
            continue  # of a list
        field = getattr(kind, "model_fields", {}).get(part)
        kind = next(iter(sections_in(getattr(field, "annotation", None))), None)
    return list(getattr(kind, "model_fields", {}))


def did_you_mean(word: str, names: list[str]) -> str:
    """The nearest names, as the end of a message; when none is near, the whole list, if it is short."""
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if len(names) > 20:
        return "; --help lists what there is"
    return f"; known: {', '.join(sorted(names))}" if names else ""
