"""Checks of the arms' configs against each other: what differs, what is held fixed. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.launch.ablation import AblationSpec
from harness.schema.run_config import ConfigError, RunConfig


def differences(configs: Sequence[RunConfig]) -> dict[str, list[Any]]:
    """Settings that differ between configs, by dotted path; not names, places in a pipeline, code."""
    flat = [dict(_flatten(c.model_dump())) for c in configs]
    keys = {key: None for values in flat for key in values}
    return {
        key: [values.get(key) for values in flat]
        for key in keys
        if not key.endswith((".name", ".custom.source", ".function.source"))  # a source has a hash
        and not key.startswith("stage.")
        and len({repr(values.get(key)) for values in flat}) > 1
    }


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flatten(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


def check_checkpoint(spec: AblationSpec, configs: Sequence[RunConfig]) -> None:
    """Raises ConfigError where checkpoints are chosen on validation and there is nothing to choose by."""
    if spec.checkpoint == "last":
        return
    for settings in (config.eval for config in configs):
        if "validation" not in settings.splits or not any(settings.at_steps):
            raise ConfigError(
                f"ablation.checkpoint=validation with eval.splits=[{','.join(settings.splits)}] and "
                f"eval.at_steps={settings.at_steps}: add validation to the splits, the steps to choose from "
                "to at_steps"
            )


def check_fixed(spec: AblationSpec, configs: Sequence[RunConfig]) -> None:
    """`configs` are one an arm, at one seed. Raises ConfigError when two differ in what is held fixed.

    The learning rate is apart where each arm chooses its own, and so are steps that are matched.
    """
    own = {"trainer.lr": spec.lr_grid, "trainer.steps": spec.match}
    differing = [key for key in differences(configs) if own.get(key) is None]
    for key in spec.fixed:
        if found := [d for d in differing if d == key or d.startswith(f"{key}.")]:
            raise ConfigError(
                f"ablation.fixed={key}: arms differ in {', '.join(found)}; set it alike, or drop it here"
            )
