"""Launching on one machine, and the environment of the processes that a launch starts.

On CPUs each run has a child process, so that a killed worker costs its own run only; on GPUs the runs go one
after another through lasting processes. One launch can use both. Clusters: harness.launch.slurm, ray_tasks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.launch.worker import Outcome, Work
from harness.launch.workers import run_all
from harness.records.progress import Display
from harness.schema.launcher_config import ProcessSettings
from harness.schema.run_config import ConfigError, RunConfig

ROOT = Path(__file__).resolve().parents[2]
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


def has_gpu(device: str) -> bool:
    """Whether runs go to a GPU. torch takes 4 s to import and is asked where there could be one."""
    if device == "cpu" or not (device == "cuda" or any(Path(p).exists() for p in GPU_DEVICES)):
        return False
    import torch

    return torch.cuda.is_available()


@contextmanager
def own_code_first(threads: int) -> Iterator[None]:
    """Set the environment of child interpreters, and restore it.

    They import this code even if the current folder has another `harness`, and use `threads` BLAS threads.
    """
    path = os.environ.get("PYTHONPATH")
    changes = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *([path] if path else [])]),
        "PYTHONSAFEPATH": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_here(
    works: Sequence[Work], settings: ProcessSettings, *, display: Display, sides: Mapping[int, bool]
) -> dict[str, Outcome]:
    """Run every job on this machine: (outcome, reason) by name. `sides`: seed -> were its runs on a GPU?"""
    threads = max(work.config.threads for work in works)
    seats = seats_of([work.config for work in works], settings)
    if any(seats) and any(work.on_cpu for work in works):  # no GPU waits while the CPU pretrains
        seats += [None] * min(len(seats), max(1, num_cores() // threads))
    return run_all(works, places=seats, display=display, silence=settings.silence, sides=sides)


def seats_of(configs: Sequence[RunConfig], settings: ProcessSettings) -> list[str | None]:
    """`places` for these runs; where verl trains one, a single place that has every GPU."""
    if any(config.trainer.engine == "verl" for config in configs):
        return [None]
    return places(configs[0].device, max(config.threads for config in configs), settings)


def places(device: str, threads: int, settings: ProcessSettings) -> list[str | None]:
    """List places for runs: GPUs (values of CUDA_VISIBLE_DEVICES), "" a lasting CPU process, None one a run.

    Raises ConfigError for CPU workers beside GPUs where there is no GPU, or runs may not use the CPU.
    """
    found: list[str | None] = [*gpus() * settings.per_gpu] if has_gpu(device) else []
    beside_gpus = settings.beside_gpus
    if beside_gpus and (not found or device == "cuda"):
        why = f"device={device} keeps runs on GPUs" if found else "no GPU is used here"
        remedy = "set device=auto" if found else "set hydra.launcher.workers"
        raise ConfigError(f"hydra.launcher.beside_gpus={beside_gpus}: {why}; {remedy}, or drop it")
    found += [""] * beside_gpus
    num = settings.workers or len(found) or max(1, num_cores() // threads)
    return found[:num] or [""] * num if settings.warm or found else [None] * num


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """A value of CUDA_VISIBLE_DEVICES for each GPU that this process may use."""
    import torch

    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return shown.split(",") if shown else [str(i) for i in range(torch.cuda.device_count())]
