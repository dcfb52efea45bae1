"""One run of a sweep, and the functions that a child process calls for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from harness.identity import run_id
from harness.schema.run_config import RunConfig

EXECUTE, ENSURE_BASE = "harness.launch.execute:execute", "harness.bases.pretrain:ensure_base"


@dataclass(frozen=True)
class Functions:
    """What a job calls, as `module:function`: a name travels to a child process, an import does not.

    Tests put stand-ins here.
    """

    execute: str = EXECUTE
    ensure_base: str = ENSURE_BASE


def load(name: str) -> Any:
    """Import the function that `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


@dataclass(frozen=True)
class Job:
    """One run of a sweep: the overrides that make it, its levels, and the validated config."""

    overrides: tuple[str, ...]
    levels: dict[str, str]
    config: RunConfig

    @property
    def run_id(self) -> str:
        return run_id(self.config)
