"""How busy this machine is with other programs, and how much longer runs take beside them. No torch."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from statistics import mean

STAT = Path("/proc/stat")
LOOKS, BETWEEN_LOOKS = 10, 0.03  # seconds
NOTICED = 1.1  # a stretch below it is within what two runs of one command differ by


def others_at_work() -> float:
    """Programs of this machine that want a core, this one apart; 0 where it is not told.

    The least of the load average of a minute and of what wants one now: runs that have just ended are in
    the first, and what lasts a moment is in the second.
    """
    try:
        lately = os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0
    with suppress(OSError, StopIteration, ValueError):
        return min(lately, mean(_running_now() - 1 for _ in range(LOOKS)))
    return lately


def _running_now() -> int:
    time.sleep(BETWEEN_LOOKS)
    lines = STAT.read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("procs_running ")))


def stretch(others: float, workers: int, threads: int) -> float:
    """How many times longer runs take here than on a quiet machine, while `others` programs go on.

    Cores are shared out evenly: two workers of one thread beside 3 programs on 2 cores take (3 + 2)/2 = 2.5
    times as long. 1 where there are cores enough.
    """
    wanted = workers * threads
    return max(1.0, (others + wanted) / max(os.cpu_count() or 1, wanted))


def busy_lines(factor: float) -> list[str]:
    """The line of a plan that says so, where it matters."""
    if factor < NOTICED:
        return []
    return [
        f"Other programs are at work on this machine's {os.cpu_count()} cores: while they are, it takes "
        f"{factor:.1f} times as long as on a quiet one, and the times here say so"
    ]
