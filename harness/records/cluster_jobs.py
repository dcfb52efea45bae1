"""Files of a study's cluster jobs: which were submitted, and how far each is. Imports no torch.

outputs/<study>/jobs/jobs.json       Submissions: every job, the runs in it, its log; written under a lock
outputs/<study>/jobs/<job>.json      JobState: progress and outcome of its runs, written by the job alone
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from harness.records.reading import RecordError
from harness.records.records import Record, read_record, write_record

FOLDER, FILE = "jobs", "jobs.json"
REMEDY = "remove the file: running jobs are then not found again, and a launch submits their runs once more"


class RunState(BaseModel):
    """One run (or base) of a job: its last sign, and its outcome once it has ended."""

    outcome: str | None = None
    reason: str = ""
    phase: str = "start"
    done: int = 0
    total: int = 0
    note: str = ""


class JobState(Record):
    """What a job says of its runs. A run that is not named has not begun."""

    host: str = ""
    runs: dict[str, RunState] = Field(default_factory=dict)


class Submission(BaseModel):
    """A job that was submitted: its runs in order, the jobs it waits for, the file with its output."""

    runs: list[str]
    needs: list[str] = Field(default_factory=list)
    log: str
    submitted: str
    by: str


class Submissions(Record):
    """Every job that the launches of a study submitted, by job id."""

    jobs: dict[str, Submission] = Field(default_factory=dict)


def jobs_folder(study: Path) -> Path:
    return study / FOLDER


def read_submissions(study: Path) -> Submissions:
    """The jobs of a study; none without a file. Raises RecordError for a damaged one."""
    path = jobs_folder(study) / FILE
    return read_record(path, Submissions, REMEDY) if path.exists() else Submissions()


def write_submissions(study: Path, found: Submissions) -> None:
    write_record(jobs_folder(study) / FILE, found)


def read_state(folder: Path, job: str) -> JobState:
    """What a job said last; nothing where it has not begun, or its file is not readable yet."""
    path = folder / f"{job}.json"
    try:
        return read_record(path, JobState, "") if path.exists() else JobState()
    except RecordError:
        return JobState()


def write_state(folder: Path, job: str, state: JobState) -> None:
    write_record(folder / f"{job}.json", state)
