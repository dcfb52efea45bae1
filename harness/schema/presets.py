"""Presets of conf/data and conf/corpus by name, and the components of a mixture filled in from them."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

CONF = Path(__file__).resolve().parents[2] / "conf"
PRESETS = CONF / "data"
FEW = 30  # names that a message lists
CORPORA = CONF / "corpus"
PLAIN_CORPORA = ("mixed", "clean")  # without settings, since bases are named by them
_OF_THE_WHOLE = ("template", "answer_rules", "symbolic")  # one prompt and one grader for all components


def preset(name: str, folders: Sequence[Path] = (PRESETS,), *, field: str = "data") -> dict[str, Any]:
    """Raises ValueError for a name that no folder has."""
    for folder in folders:
        if (path := folder / f"{name}.yaml").is_file():
            return yaml_of(path)
    known = sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    listed = f"known: {', '.join(known)}" if len(known) <= FEW else "that folder lists what there is"
    hint = f"did you mean {' or '.join(near)}?" if near else listed
    raise ValueError(f"{field}={name}: no such preset in conf/{folders[0].name}; {hint}")


def yaml_of(path: Path) -> Any:
    """A YAML file's content, the caller's own; parsed once while the file stays as it is."""
    return copy.deepcopy(_parsed(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=256)
def _parsed(path: Path, changed: int) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def with_teacher(objective: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """An objective whose teacher's model, the name of a preset in one of the folders, is given in full.

    Raises ValueError for an unknown preset.
    """
    teacher = objective.get("teacher")
    if not isinstance(teacher, Mapping) or not isinstance(name := teacher.get("model"), str):
        return dict(objective)
    full = preset(name, folders, field="objective.teacher.model")
    return {**objective, "teacher": {**teacher, "model": full}}


def check_model_name(model: Any, folders: Sequence[Path]) -> None:
    """Raises ValueError for a model that has the name of one preset and the dimensions of another.

    A file that writes `model: {name: ladder_m}` sets the name alone: the run would be called what it is not.
    """
    if not isinstance(model, Mapping) or (dims := model.get("dims")) is None:
        return
    name = model.get("name")
    paths = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    own = next((path for path in paths if path.stem == name), None)
    if own is None or _dims(own.read_text(encoding="utf-8")) == dims:
        return
    if (twin := next((p.stem for p in paths if _dims(p.read_text(encoding="utf-8")) == dims), None)) is None:
        return  # dimensions of the user's own
    raise ValueError(
        f"model.name={name}: only the name is set, the dimensions are those of {twin}; choose the "
        f"option: model={name}, in a file `defaults: [{{override /model: {name}}}]`"
    )


@lru_cache(maxsize=256)
def _dims(text: str) -> Any:
    found = yaml.safe_load(text)
    return found.get("dims") if isinstance(found, Mapping) else None


def weighed(parts: Any) -> Any:
    """`{gsm8k: 0.3}` as `{gsm8k: {weight: 0.3}}`, so that a component's other fields can be set after it."""
    if not isinstance(parts, Mapping):
        return parts
    return {
        name: {"weight": part} if isinstance(part, (int, float)) else part for name, part in parts.items()
    }


def with_components(data: Mapping[str, Any], folders: Sequence[Path] = (PRESETS,)) -> dict[str, Any]:
    """A data config whose components, a weight or some fields of a preset each, are given in full.

    A component takes the preset of its own name, or of its `preset`. Raises ValueError for an unknown preset
    or a component that is neither.
    """
    whole, parts = dict(data), weighed(data.get("components") or {})
    if not isinstance(parts, Mapping):
        raise ValueError(f"data.components={parts}: give names and weights, {{gsm8k: 0.5, math: 0.5}}")
    full = {}
    for name, part in parts.items():
        field = f"data.components.{name}"
        if not isinstance(part, Mapping):
            raise ValueError(f"{field}={part}: give a weight, or a weight and fields of conf/data")
        given = dict(part)
        _check_part(field, given, whole)
        chosen = str(given.pop("preset", name))
        if "dataset" not in given:
            given = {**preset(chosen, folders, field=f"{field}.preset"), **given}
        full[name] = given | {key: whole[key] for key in _OF_THE_WHOLE if key in whole}
    return {**whole, "components": full} if parts else whole


def with_own_presets(settings: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """Evaluation settings whose benchmarks carry the preset of a user's own folder, if they name one."""
    found, asked = [], settings.get("benchmarks")
    for given in asked if isinstance(asked, list) else ():  # the schema answers for what is no list
        task = given.get("task") if isinstance(given, Mapping) else given
        known = not isinstance(task, str) or (PRESETS / f"{task}.yaml").is_file()
        file = next((path for root in folders if (path := root / f"{task}.yaml").is_file()), None)
        if known or file is None:
            found.append(given)
        else:
            whole = {"task": task} if isinstance(given, str) else dict(given)
            found.append({**whole, "own": with_components(preset(str(task), folders), folders)})
    return {**settings, **({"benchmarks": found} if found else {})}


def _check_part(field: str, given: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """Raises ValueError for a field of a component that is the whole mixture's to say."""
    for key in _OF_THE_WHOLE:
        if key in given and key in whole and given[key] != whole[key]:
            raise ValueError(f"{field}.{key}={given[key]}: all parts share the mixture's; set data.{key}")
    makes_fewer = given.get("num_distinct") or given.get("num_families")
    if given.get("num_train") is not None and not makes_fewer:
        raise ValueError(
            f"{field}.num_train={given['num_train']}: its weight says how many it gives; set {field}.weight, "
            "or data.num_train for all parts"
        )


def corpus_settings(corpus: Any, folders: Sequence[Path], *, opened: bool) -> Any:
    """The settings of a corpus that is a preset's name; with `opened` also of a plain one, to change some.

    Settings, and a plain name that stays one, are given back as they are. Raises ValueError for an unknown
    name.
    """
    if not isinstance(corpus, str):
        return corpus
    if corpus in PLAIN_CORPORA:
        return {"mix": corpus} if opened else corpus
    for folder in folders:
        if (path := folder / f"{corpus}.yaml").is_file():
            return yaml_of(path)
    known = [*PLAIN_CORPORA, *sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})]
    near = difflib.get_close_matches(corpus, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"corpus={corpus}: not one of {', '.join(known)}{hint}")
