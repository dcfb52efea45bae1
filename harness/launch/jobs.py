"""One run of a sweep, and the functions that a child process calls for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from harness.identity import run_id
from harness.schema.run_config import RunConfig

DONE = ("finished", "skipped")  # outcomes after which a run's last checkpoint is there
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
    """One run of a sweep: the overrides that make it, its levels, and the validated config.

    Of a pipeline it is the last stage, and `before` are the earlier ones in order.
    """

    overrides: tuple[str, ...]
    levels: dict[str, str]
    config: RunConfig
    before: tuple[Job, ...] = ()

    @property
    def run_id(self) -> str:
        return run_id(self.config)

    @property
    def stages(self) -> tuple[Job, ...]:
        """The runs that the arm takes, in order: one, or a pipeline's stages."""
        return (*self.before, self)


def all_runs(jobs: Iterable[Job]) -> list[Job]:
    """Every run of these jobs once, each after the one that it begins from. Stages in common are one run."""
    return list({stage.run_id: stage for job in jobs for stage in job.stages}.values())


_BEHIND = "not started, since the stage before it, "


def not_started(start: str, outcome: tuple[str, str]) -> tuple[str, str]:
    """(outcome, reason) of a stage whose start is not there: what became of that run, and its name."""
    ended, why = outcome
    what = "interrupted" if ended == "interrupted" else "failed"
    if is_behind(why):  # what it waited for was not started either
        return what, why
    return what, f"{_BEHIND}{start}, {ended}" + (f": {why}" if why else "")


def unfinished(stages: Iterable[str], outcomes: Mapping[str, tuple[str, str]]) -> str | None:
    """The first of these runs that ended and is not done; None where there is none."""
    return next((name for name in stages if name in outcomes and outcomes[name][0] not in DONE), None)


def is_behind(reason: str) -> bool:
    """Whether a reason is that of a stage whose start is not there."""
    return reason.startswith(_BEHIND)
