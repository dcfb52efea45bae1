"""Memory of this machine, without importing torch."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from pathlib import Path


def num_processes() -> int:
    """Processes that share a run here, as torchrun or a launcher has set it; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def num_processes_here() -> int:
    """Processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", num_processes()))


def gpu_memory() -> int | None:
    """Free bytes of this process's GPU, as its driver says when first asked; None without one."""
    return _gpu("memory.free")


def gpu_total() -> int | None:
    """All bytes of this process's GPU; None without one."""
    return _gpu("memory.total")


@lru_cache(maxsize=2)
def _gpu(field: str) -> int | None:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    place = int(os.environ.get("LOCAL_RANK", "0"))
    own = found[place] if place < len(found) else found[0] if found else ""
    return int(own) * 2**20 if own.isdigit() else None


def system_memory() -> int | None:
    """Bytes that a process may still have: the system's, or less where a control group says so."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free
