"""Slurm's commands, as few as there need be: states of jobs, cancelling. Imports no torch.

`squeue` alone answers, since a cluster may have no accounting; it forgets a job some minutes after its end.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

OVER = {  # states after which a job does not run again
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    "PREEMPTED",
    "REVOKED",
    "SPECIAL_EXIT",
}
NEVER = "DependencyNeverSatisfied"  # a reason to wait that no time ends, where the cluster does not cancel
States = dict[str, tuple[str, str]]  # (state, reason) by job id


def states(name: str) -> States | None:
    """(state, reason) by id of the user's jobs of this name, ended ones too while Slurm remembers them.

    An element of an array is `12_3`. None where the controller does not answer.
    """
    rows = _call(["squeue", "--me", "-h", "-r", "--states=all", f"--name={name}", "-o", "%i|%T|%r"])
    if rows is None:
        return None
    return {job: (state, why) for job, state, why in (row.split("|", 2) for row in rows.splitlines() if row)}


def lives(state: tuple[str, str] | None) -> bool:
    """Whether a job waits or runs, or will again."""
    return state is not None and state[0] not in OVER and state[1] != NEVER


def cancel(jobs: Iterable[str]) -> bool:
    """Cancel jobs; whether Slurm was told."""
    listed = sorted(jobs)
    return not listed or _call(["scancel", *listed]) is not None


def _call(command: Sequence[str]) -> str | None:
    """Standard output; None where the command fails, or is not there."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None
