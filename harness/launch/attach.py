"""`python -m harness attach STUDY`: follow a study's jobs on a cluster, whoever launched them. No torch.

It reads files and asks the queue; it starts and cancels nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.launch.jobs import DONE
from harness.launch.options import Parser
from harness.launch.slurm_queue import States, lives, states
from harness.launch.slurm_submit import job_name
from harness.records.cluster_jobs import RunState, Submissions, jobs_folder, read_state, read_submissions
from harness.records.progress import Display
from harness.records.reading import visible

FINISHED, FAILED = 0, 1


def main(arguments: Sequence[str]) -> int:
    """Print every run's job, state and log, then follow them. Raises ValueError for a study without jobs.

    Exit code 0 where every run is done, else 1. Ctrl-C ends the following alone.
    """
    given = _parser().parse_args(arguments)
    study = next((p for p in (Path(given.study), Path(given.outputs) / given.study) if p.is_dir()), None)
    if study is None or not (listed := read_submissions(study)).jobs:
        raise ValueError(
            f"{given.study}: no jobs on a cluster are written there; name a study launched with "
            "hydra/launcher=slurm, or --outputs DIR"
        )
    found = states(job_name(study))
    if found is None:
        print("Slurm does not answer here; what the files say:", file=sys.stderr)
    for line in table(study, listed, found or {}):
        print(line)
    if found is not None and not given.once:
        follow(study, listed, every=given.every)
    return FINISHED if all(row.outcome in DONE for _, row in last(study, listed).values()) else FAILED


def last(study: Path, listed: Submissions) -> dict[str, tuple[str, RunState]]:
    """(job, what it says) of each run: that of the last job that it was submitted in."""
    jobs = {name: job for job, one in listed.jobs.items() for name in one.runs}
    said = {job: read_state(jobs_folder(study), job) for job in set(jobs.values())}
    return {name: (job, said[job].runs.get(name, RunState(phase=""))) for name, job in jobs.items()}


def table(study: Path, listed: Submissions, found: States) -> list[str]:
    """A line a run: name, job, state in the queue, progress or outcome, log."""
    rows = [("run", "job", "queue", "progress", "log")]
    for name, (job, row) in last(study, listed).items():
        state, why = found.get(job, ("over", ""))
        queue = (
            f"{state.lower()} ({why})" if why not in ("", "None") and lives((state, why)) else state.lower()
        )
        count = f" {row.done}/{row.total}" if row.total > 1 and not row.outcome else ""
        text = f"{row.outcome or row.phase}{count}" + (f": {row.reason}" if row.reason else "")
        log = study / "logs" / f"{name}.txt"
        rows.append((name, job, queue, text, str(log if log.exists() else listed.jobs[job].log)))
    widths = [max(len(row[at]) for row in rows) for at in range(5)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [visible(line) for line in lines]


def follow(study: Path, listed: Submissions, *, every: float) -> None:
    """Show progress until no job of the study waits or runs, those submitted meanwhile included."""
    with Display(dict.fromkeys(last(study, listed), 1.0)) as display:
        ended = {name for name, (_, row) in last(study, listed).items() if row.outcome is not None}
        for name in ended:
            display.waiting.discard(name)
        try:
            while True:
                found, listed = states(job_name(study)), read_submissions(study)
                for name, (_, row) in last(study, listed).items():
                    if row.outcome is not None and name not in ended:
                        ended.add(name)
                        display.end(name, row.outcome, row.reason)
                    elif row.outcome is None and row.phase:
                        display.update(name, row.phase, row.done, row.total, row.note)
                if found is not None and not any(lives(found.get(job)) for job in listed.jobs):
                    return
                time.sleep(every)
        except KeyboardInterrupt:
            display.say("detached: the jobs go on")


def _parser() -> argparse.ArgumentParser:
    made = Parser(
        prog="python -m harness attach",
        description="Follow a study's jobs on a cluster. Starts and cancels nothing; Ctrl-C detaches.",
        allow_abbrev=False,
    )
    made.add_argument("study", metavar="STUDY", help="its folder, or its name under --outputs")
    made.add_argument("--outputs", metavar="DIR", default="outputs", help="folder of studies (outputs)")
    made.add_argument("--once", action="store_true", help="print the table and end")
    made.add_argument("--every", metavar="S", type=float, default=10.0, help="seconds between two looks (10)")
    return made
