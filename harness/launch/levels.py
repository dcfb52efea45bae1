"""Levels of an ablation's named factors, chosen on the command line: `ablation=bridge arm=[sft,kl]`.

A named factor is one whose levels are lists of overrides. Levels that are not chosen are absent from the
study, and the plan, the launch and the report say so. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.launch.ablation import AblationSpec, levels_of
from harness.schema.explain import did_you_mean
from harness.schema.run_config import ConfigError
from harness.schema.settings import is_setting

Levels = dict[str, list[str]]


def labels_of(spec: AblationSpec) -> Levels:
    """Every factor with the labels of its declared levels."""
    return {name: [label for _, label, _ in levels_of(name, v)] for name, v in spec.factors.items()}


def is_named(spec: AblationSpec | None, factor: str) -> bool:
    """Whether a factor is no setting itself, but has labelled lists of overrides as levels."""
    return spec is not None and isinstance(spec.factors.get(factor), dict) and not is_setting(factor)


def choose(spec: AblationSpec, factor: str, values: Sequence[str]) -> dict[str, list[str]]:
    """The chosen levels of a named factor with their overrides, in the order of the design.

    Raises ConfigError for a level that it does not have.
    """
    declared = spec.factors[factor]
    assert isinstance(declared, dict)
    chosen = [_label(factor, value, list(declared)) for value in values]
    if not chosen:
        raise ConfigError(f"{factor}=[]: no level; choose of {', '.join(declared)}")
    return {label: lines for label, lines in declared.items() if label in chosen}


def _label(factor: str, value: str, labels: list[str]) -> str:
    """The level that a value names; `1e-4` and `0.0001` are one, as the command line reads numbers."""
    if found := [label for label in labels if label == value or _number(label) == _number(value) is not None]:
        return found[0]
    near = did_you_mean(value, labels)
    listed = "" if near.startswith("; known") else f" levels: {', '.join(labels)}"
    raise ConfigError(f"{factor}={value}: not a level of {factor}{near}{listed}")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def lines_of(
    spec: AblationSpec | None, factors: Mapping[str, list[Any] | dict[str, list[str]]]
) -> dict[str, dict[str, list[str]]]:
    """Overrides by factor and level. A named factor has all its levels: other launches may run them."""
    named = {} if spec is None else {k: spec.factors[k] for k in factors if is_named(spec, k)}
    return {
        name: {label: lines for _, label, lines in levels_of(name, levels)}
        for name, levels in {**factors, **named}.items()
    }


def control_levels(spec: AblationSpec | None, run: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The level of each factor that differences are taken against: the declared one, else the first.

    A named factor keeps its declared control when that is not among the levels run: another launch of the
    study may add it. Values of a setting that the command line gave anew have their first.
    """
    control = {name: levels[0] for name, levels in run.items()}
    if spec is None:
        return control
    named = {
        name: labels[0] for name, labels in labels_of(spec).items() if is_named(spec, name)
    } | spec.control
    return control | {k: v for k, v in named.items() if k in run and (v in run[k] or is_named(spec, k))}


def absent(spec: AblationSpec | None, run: Mapping[str, Sequence[str]]) -> Levels:
    """Declared levels that are not among those run, by factor; a factor that is not varied is left out."""
    if spec is None:
        return {}
    gaps = {
        name: [label for label in labels if label not in run[name]]
        for name, labels in labels_of(spec).items()
        if name in run
    }
    return {name: labels for name, labels in gaps.items() if labels}


def gap_lines(
    spec: AblationSpec | None, run: Mapping[str, Sequence[str]], control: Mapping[str, str]
) -> list[str]:
    """For each factor with absent levels a line: which run, which do not, and what cannot be claimed then."""
    gaps = absent(spec, run)
    if spec is None:
        return []
    return [
        f"levels of {name} run: {', '.join(run[name])}; absent: {', '.join(labels)}"
        + _claim(spec, name, run[name], control)
        for name, labels in gaps.items()
    ]


def _claim(spec: AblationSpec, factor: str, run: Sequence[str], control: Mapping[str, str]) -> str:
    declared, text = spec.control.get(factor), ""
    if declared not in (None, *run):
        instead = control.get(factor)
        text += f"; without its control {declared} "
        text += f"differences are taken against {instead}" if instead in run else "there is no difference"
    primary = spec.primary
    if primary is None or primary.factor != factor:
        return text
    if primary.contrast not in (None, *run):
        text += f"; without {primary.contrast} there is no primary contrast"
    if spec.family and (lost := [level for level in spec.family if level not in run]):
        text += f"; the family lacks {len(lost)} of its {len(spec.family)}"
    return text
