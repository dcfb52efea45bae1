"""Runs as jobs of a Slurm cluster: Submitit submits and requeues them, files say how far each is.

A study's jobs stand in its folder, and every launch begins with them: a run whose job waits or runs is
followed, not submitted again, whoever launched it. Bases and shared stages are jobs of their own, and what
needs them depends on these (afterok). Imports no torch.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from harness.identity import base_made
from harness.launch.jobs import DONE, not_started, unfinished
from harness.launch.signals import Left, Preempted
from harness.launch.slurm_queue import States, cancel, lives, states
from harness.launch.slurm_submit import Array, arrays, awaited, job_name, log_of, may_pass, submit
from harness.launch.status import finished
from harness.launch.worker import Outcome, Work
from harness.records.cluster_jobs import (
    JobState,
    Submissions,
    jobs_folder,
    read_state,
    read_submissions,
    write_submissions,
)
from harness.records.locks import study_lock
from harness.records.progress import Display
from harness.schema.launcher_config import SlurmSettings
from harness.schema.run_config import ConfigError

STOP_WAIT = 60.0  # seconds that cancelled jobs have to leave the queue: KillWait and a little more
HELD_AGAIN = 60.0  # seconds until a run is submitted again that a process outside Slurm held
COUNT_EVERY = 30.0  # seconds between two lines that count the jobs


def check_installed() -> None:
    """Raises ConfigError without Submitit, or where jobs cannot be submitted from."""
    if find_spec("submitit") is None:
        raise ConfigError("hydra/launcher=slurm: submitit is not installed; pip install '.[launchers]'")
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise ConfigError("hydra/launcher=slurm: no sbatch here; launch from a login node of the cluster")


@dataclass
class Following:
    """One launch's jobs: what is left to do, which job has it, how often it was tried."""

    works: dict[str, Work]
    settings: SlurmSettings
    study: Path
    display: Display
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    job_of: dict[str, str] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)  # jobs that this launch submitted
    lost: dict[str, int] = field(default_factory=dict)  # run -> jobs of it that ended without an outcome
    gone: dict[str, float] = field(default_factory=dict)  # job -> when it was first seen to be over
    not_before: dict[str, float] = field(default_factory=dict)
    said: dict[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return jobs_folder(self.study)

    def left(self) -> list[str]:
        return [name for name in self.works if name not in self.outcomes]

    def end(self, name: str, outcome: Outcome) -> None:
        self.outcomes[name] = outcome
        self.job_of.pop(name, None)
        self.display.end(name, *outcome)

    def say_once(self, text: str, every: float = float("inf")) -> None:
        """Print a line that was not printed yet, or not for `every` seconds."""
        now = time.monotonic()
        if text not in self.said or now - self.said[text] > every:
            self.said[text] = now
            self.display.say(text)


def run_on_slurm(
    works: Sequence[Work], settings: SlurmSettings, *, display: Display, study: Path
) -> dict[str, Outcome]:
    """Submit what no job has yet and follow all of it: (outcome, reason) by name.

    Ctrl-C cancels the jobs that this launch submitted; a signal that ends the launch alone (a login node's
    logout) leaves them running and raises Left. Raises ConfigError where Slurm refuses the first submission.
    """
    now = Following({work.name: work for work in works}, settings, study, display)
    try:
        while now.left():
            found = states(job_name(study))
            if found is None:
                now.say_once("squeue does not answer: jobs go on, waiting for it", every=600)
            else:
                _collect(now, found)
                _end_barred(now)
                _submit(now)
                _count(now, found)
            if now.left():
                time.sleep(settings.poll)
    except Preempted as error:
        display.say(f"{error}: jobs go on; launch again to follow them, or: r1-run attach {study}")
        raise Left(str(error)) from error
    except KeyboardInterrupt:
        _cancel(now)
        raise
    return now.outcomes


def _collect(now: Following, found: States) -> None:
    """Read what the jobs under way say, and settle the runs of those that are over."""
    for job in sorted(set(now.job_of.values()), key=_in_order):
        names = [name for name, of in now.job_of.items() if of == job]
        state = read_state(now.folder, job)
        for name in names:
            _see(now, name, state)
        left = [name for name in names if now.job_of.get(name) == job]
        if lives(found.get(job)):
            now.gone.pop(job, None)
        elif left and time.monotonic() - now.gone.setdefault(job, time.monotonic()) >= now.settings.settle:
            _settle(now, job, left, state, found)


def _in_order(job: str) -> list[int]:
    """Jobs in the order of their numbers, so that one comes before those that depend on it."""
    return [int(part) for part in job.split("_")]


def _see(now: Following, name: str, state: JobState) -> None:
    """Show a run's progress, or take its outcome."""
    if (row := state.runs.get(name)) is None:
        return
    if name not in now.display.lines:
        now.display.start(name)
    if row.outcome is None:
        now.display.update(name, row.phase, row.done, row.total, row.note)
    elif row.outcome == "held":
        now.say_once(f"{now.display.name(name)}  {row.reason}; tried again until it is free")
        now.not_before[name] = time.monotonic() + HELD_AGAIN
        del now.job_of[name]
    else:
        now.end(name, (row.outcome, row.reason))


def _settle(now: Following, job: str, left: Sequence[str], state: JobState, found: States) -> None:
    """Decide on runs whose job is over and left no outcome: done after all, cancelled, or to be tried again.

    A job that never began since what it depends on failed counts nothing. Else the run counts that was under
    way when its job died, or the first in order.
    """
    dropped = not state.runs and not _had_all(now, job)
    queue = found.get(job, ("no longer known", ""))[0]
    begun = [name for name in left if name in state.runs] or list(left[:1])
    for name in left:
        del now.job_of[name]
        if _is_done(now.works[name]):
            now.end(name, ("finished", ""))
        elif dropped:
            continue
        elif queue == "CANCELLED":
            now.end(name, ("interrupted", f"its job {job} was cancelled; launch again to go on"))
        elif name in begun:
            now.lost[name] = now.lost.get(name, 0) + 1
            why = f"its job {job} ended without a result ({queue.lower()})"
            if now.lost[name] > now.settings.retries:
                reason = f"{why}, the last of {now.lost[name]} tries; see {log_of(now.folder, job)}"
                now.end(name, ("failed", reason))
            else:
                tries = f"try {now.lost[name] + 1} of {now.settings.retries + 1}"
                now.display.say(f"{now.display.name(name)}  {why}; {tries}")


def _had_all(now: Following, job: str) -> bool:
    """Whether every job that this one depends on has done its runs."""
    listed = read_submissions(now.study).jobs
    return all(
        (row := read_state(now.folder, need).runs.get(name)) is not None and row.outcome in DONE
        for need in (listed[job].needs if job in listed else [])
        for name in listed[need].runs
    )


def _is_done(work: Work) -> bool:
    return base_made(work.config) if work.is_base else finished(work.config) is not None


def _end_barred(now: Following) -> None:
    """End the runs whose stage before did not finish; a base that failed is tried again by its runs."""
    waiting = [name for name in now.left() if name not in now.job_of]
    while barred := [n for n in waiting if unfinished(now.works[n].stages, now.outcomes) is not None]:
        for name in barred:
            stage = unfinished(now.works[name].stages, now.outcomes) or ""
            now.end(name, not_started(stage, now.outcomes[stage]))
            waiting.remove(name)


def _submit(now: Following) -> None:
    """Follow jobs that another launch submitted, and submit what no job has, each after what it needs."""
    if not _ready(now):
        return
    with study_lock(now.study):
        listed, found = read_submissions(now.study), states(job_name(now.study))
        if found is None:
            return
        _follow(now, listed, found)
        while ready := _ready(now):
            for array in arrays(now.works, ready, now.job_of, now.settings):
                try:
                    made = submit(array, now.settings, now.study)
                except ConfigError as error:
                    _refused(now, array, error)
                    return
                listed.jobs |= made
                write_submissions(now.study, listed)
                now.own |= made.keys()
                now.job_of |= {name: job for job, one in made.items() for name in one.runs}
                ids = list(made)
                span = ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
                what = f"{sum(len(one.runs) for one in made.values())} runs as jobs {span}"
                now.display.say(f"submitted {what}; their logs: {now.folder}")


def _refused(now: Following, array: Array, error: ConfigError) -> None:
    """Leave a refused array for later where Slurm may accept it then, or had its runs before; else raise."""
    if not now.own:
        raise error
    again = any(work.name in now.lost for batch in array[1] for work in batch)
    if not again and not may_pass(error):
        jobs = " ".join(sorted(now.own, key=_in_order))
        raise ConfigError(f"{error}; what was submitted before goes on (scancel {jobs} ends it)") from error
    now.say_once(f"{error}; tried again", every=600)


def _follow(now: Following, listed: Submissions, found: States) -> None:
    """Take over runs whose job of an earlier or another launch waits or runs, and has not ended them yet."""
    for job, one in listed.jobs.items():
        if lives(found.get(job)) and job not in now.own:
            state = read_state(now.folder, job)
            ended = {name for name, row in state.runs.items() if row.outcome is not None}
            taken = [n for n in one.runs if n in now.left() and n not in now.job_of and n not in ended]
            now.job_of |= dict.fromkeys(taken, job)
            if taken:
                now.say_once(f"job {job} of {one.by} has {len(taken)} of these runs: followed")


def _ready(now: Following) -> list[str]:
    """Runs that no job has, and whose bases and stages have been tried or are in a job."""
    placed = now.outcomes.keys() | now.job_of.keys()
    return [
        name
        for name in now.left()
        if name not in now.job_of
        and now.not_before.get(name, 0.0) <= time.monotonic()
        and placed.issuperset(awaited(now.works, now.works[name]))
    ]


def _count(now: Following, found: States) -> None:
    """Say how many jobs wait and run, and why they wait."""
    mine = [found[job] for job in set(now.job_of.values()) if lives(found.get(job))]
    if not mine:
        return
    counts = Counter(state.lower() for state, _ in mine)
    reasons = sorted({why for state, why in mine if state == "PENDING" and why != "None"})
    text = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    now.say_once(f"jobs: {text}" + (f" ({', '.join(reasons)})" if reasons else ""), every=COUNT_EVERY)


def _cancel(now: Following) -> None:
    """Cancel this launch's jobs and wait until they saved and left; say what goes on."""
    mine = {job for job in now.job_of.values() if job in now.own}
    others = sorted(set(now.job_of.values()) - mine, key=_in_order)
    if mine:
        now.display.say(f"cancelling {len(mine)} jobs; their runs save first (Ctrl-C again: do not wait)")
    if not cancel(mine):
        listed = " ".join(sorted(mine, key=_in_order))
        now.display.say(f"Slurm does not answer: jobs go on; cancel them later with: scancel {listed}")
        raise Left("jobs go on")
    if others:
        now.display.say(f"jobs of another launch go on: scancel {' '.join(others)} ends them")
    deadline = time.monotonic() + STOP_WAIT
    while time.monotonic() < deadline:
        found = states(job_name(now.study))
        if found is not None and not any(lives(found.get(job)) for job in mine):
            return
        time.sleep(min(1.0, now.settings.poll))
