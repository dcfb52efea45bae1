"""One run of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from harness.identity import run_id
from harness.schema.run_config import RunConfig

# What a child process calls, by name: an import does not travel to it.
EXECUTE, ENSURE_BASE = "harness.launch.execute:execute", "harness.bases.pretrain:ensure_base"


@dataclass(frozen=True)
class Job:
    """One run of a sweep: the overrides that make it, its levels, and the validated config."""

    overrides: tuple[str, ...]
    levels: dict[str, str]
    config: RunConfig

    @property
    def run_id(self) -> str:
        return run_id(self.config)
