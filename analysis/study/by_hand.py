"""Studies without a study.json, of runs launched one by one: their factors, a control, what is comparable.

A factor is one setting that varies, or one choice of a group (`objective`, `model`, `data`) with all that
goes with its name. A difference is taken only between arms that differ in one factor alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from analysis.study.configs import varying_keys
from harness.records import records

GROUPS = ("objective", "model", "data")
MAX_NOTES = 5

Configs = Mapping[str, Mapping[str, Any]]
Runs = Mapping[str, records.RunRecord]


def inferred_factors(runs: Runs, configs: Configs) -> dict[str, list[str]]:
    """Factor -> the config keys that it decides, of the runs that did not fail.

    A group's name stands for every key of the group that it decides, but for those that a command set.
    """
    names = [name for name in configs if runs[name].status != "failed"] or list(configs)
    varying = varying_keys([configs[name] for name in names])
    typed = {line.lstrip("+").partition("=")[0] for name in names for line in runs[name].overrides}
    found: dict[str, list[str]] = {}
    for key in varying:
        group = key.partition(".")[0]
        by_name = group in GROUPS and f"{group}.name" in varying and key not in typed
        decided = by_name and _decides([configs[name] for name in names], f"{group}.name", key)
        function = ".custom." in key or ".function." in key
        own = key.removesuffix(".sha256").removesuffix(".path") if function else key
        found.setdefault(group if decided else own, []).append(key)
    return found


def _decides(configs: Sequence[Mapping[str, Any]], name: str, key: str) -> bool:
    """Whether configs with one value of `name` have one value of `key`."""
    seen: dict[str, str] = {}
    return all(seen.setdefault(str(c.get(name)), str(c.get(key))) == str(c.get(key)) for c in configs)


def level_of(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    """A factor's level in a config: the group's name, the setting's value, or a function with its hash."""
    if (named := next((key for key in keys if key.endswith(".name")), None)) is not None:
        return str(config.get(named))
    if (hashed := next((key for key in keys if key.endswith(".sha256")), None)) is not None:
        return f"{config.get(hashed.removesuffix('sha256') + 'path')}@{str(config.get(hashed))[:8]}"
    return str(config.get(keys[0]))


def inferred_control(arms: Sequence[records.Arm], runs: Runs) -> tuple[dict[str, str], list[str]]:
    """Level of the one factor that differences are taken against, and a note for each arm left alone.

    The factor in which most finished arms differ alone, at the level that most of them can be compared with.
    An arm without a finished run is never a control. ({}, notes) where no two arms differ in one factor.
    """
    finished = [arm for arm in arms if any(runs[run].status == "finished" for run in arm.runs.values())]
    pairs = [
        (first, second, differing[0])
        for first, second in combinations(finished, 2)
        if len(differing := differing_factors(first, second)) == 1
    ]
    if not pairs:
        return {}, list(_alone(finished, [], runs))
    counts: dict[tuple[str, str], int] = {}
    for first, second, factor in pairs:
        for arm in (first, second):
            counts[factor, arm.levels[factor]] = counts.get((factor, arm.levels[factor]), 0) + 1
    by_factor = {factor: sum(f == factor for *_, f in pairs) for *_, factor in pairs}
    factor = max(by_factor, key=lambda name: (by_factor[name], name in GROUPS))
    level = max((pair for pair in counts if pair[0] == factor), key=lambda pair: counts[pair])[1]
    compared = [
        arm.label for pair in pairs if pair[2] == factor for arm in pair[:2] if level in _levels(pair, factor)
    ]
    return {factor: level}, list(_alone(finished, compared, runs))


def _levels(pair: tuple[records.Arm, records.Arm, str], factor: str) -> set[str]:
    return {pair[0].levels[factor], pair[1].levels[factor]}


def differing_factors(first: records.Arm, second: records.Arm) -> list[str]:
    """Factors in which two arms differ."""
    names = dict.fromkeys([*first.levels, *second.levels])
    return [name for name in names if first.levels.get(name) != second.levels.get(name)]


def _alone(finished: Sequence[records.Arm], compared: Sequence[str], runs: Runs) -> Iterator[str]:
    """A line for each finished arm in no difference: what differs, and a command that would mend it."""
    alone = [arm for arm in finished if arm.label not in compared and len(finished) > 1]
    for arm in alone[:MAX_NOTES]:
        near = min((a for a in finished if a is not arm), key=lambda a: len(differing_factors(arm, a)))
        differing = differing_factors(arm, near)
        values = {name: (arm.levels.get(name), near.levels.get(name)) for name in differing}
        said = ", ".join(f"{name} ({own}, there {other})" for name, (own, other) in values.items())
        run = next(run for run in arm.runs.values() if runs[run].status == "finished")
        lines = [*runs[run].overrides, *(_override(name, near) for name in differing[1:])]
        command = shlex.join(["python", "-m", "harness", *lines])
        yield (
            f"{arm.label} is in no difference: the nearest arm, {near.label}, differs in {said}"
            + (f"; to compare them by {differing[0]} alone: {command}" if len(differing) > 1 else "")
        )
    if len(alone) > MAX_NOTES:
        yield f"and {len(alone) - MAX_NOTES} more arms are in no difference"


def _override(factor: str, arm: records.Arm) -> str:
    """What sets a factor to an arm's level; of a function its file, which may have changed."""
    level = str(arm.levels.get(factor))
    path, at, _ = level.rpartition("@")
    return (
        f"{factor}.path={path}" if at and factor.endswith((".custom", ".function")) else f"{factor}={level}"
    )
