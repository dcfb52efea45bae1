"""Launching on one machine, by a Hydra launcher of our own.

On CPUs each run has a child process, so that a killed worker costs its own run only; on GPUs the runs go one
after another through lasting processes. One launch can use both. The others: harness.launch.hydra_launchers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from harness.identity import base_id, base_made, bases_of, run_id
from harness.launch.jobs import Functions
from harness.launch.worker import Work
from harness.launch.workers import SILENCE, run_all
from harness.records.progress import Display
from harness.schema.run_config import ConfigError, RunConfig

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

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


class ProcessLauncher(Launcher):
    """The launcher of conf/hydra/launcher/process.yaml, which explains its settings.

    `compose` turns a job's overrides into a validated config; `costs` are expected seconds by run id, which
    set the order: a base counts for the longest run that waits for it.
    """

    def __init__(
        self,
        workers: int | None = None,
        warm: bool = False,
        per_gpu: int = 1,
        beside_gpus: int = 0,
        silence: float = SILENCE,
        **_: Any,
    ) -> None:
        self.workers, self.warm, self.silence = workers, warm, silence
        self.per_gpu, self.beside_gpus = per_gpu, beside_gpus
        self.functions = Functions()
        self.compose: Callable[[Sequence[str]], RunConfig]
        self.flags: list[str] = []
        self.costs: dict[str, float] = {}
        self.sides: dict[int, bool] = {}  # seed -> whether its finished runs were made on a GPU
        self.display: Display | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """One JobReturn a job, in order; its return value is (outcome, reason)."""
        works = _chained([self._work(overrides) for overrides in job_overrides])
        if not works:
            return []
        bases = self._bases(works)
        display = self.display or Display({work.name: work.cost for work in works})
        display.expect({base.name: base.cost for base in bases})
        threads = max(work.config.threads for work in works)
        seats = places(
            works[0].config.device,
            threads,
            workers=self.workers,
            warm=self.warm,
            per_gpu=self.per_gpu,
            beside_gpus=self.beside_gpus,
        )
        if any(seats) and any(base.on_cpu for base in bases):  # no GPU waits while the CPU pretrains
            seats += [None] * min(len(seats), max(1, num_cores() // threads))
        with own_code_first(threads):
            outcomes = run_all(
                [*bases, *works], places=seats, display=display, silence=self.silence, sides=self.sides
            )
        return [_job_return(w, outcomes[w.name]) for w in works]

    def _work(self, overrides: Sequence[str]) -> Work:
        config = self.compose(overrides)
        name = run_id(config)
        return Work(
            name,
            config,
            (*self.flags, *overrides),
            self.functions.execute,
            self.costs.get(name, 1.0),
            needs=tuple(base_id(base) for base in bases_of(config) if not base_made(base)),
            stages=config.waits_for,
            engine=_engine(config),
        )

    def _bases(self, works: Sequence[Work]) -> list[Work]:
        """Each base that is missing, once, before the longest run that needs it."""
        bases: dict[str, Work] = {}
        for work, config in [(w, c) for w in works for c in bases_of(w.config)]:
            name = base_id(config)
            cost, found = self.costs.get(name, 1.0), bases.get(name)
            if name in work.needs and (found is None or found.priority < cost + work.cost):
                bases[name] = Work(
                    name,
                    config,
                    (),
                    self.functions.ensure_base,
                    cost,
                    is_base=True,
                    on_cpu=config.model.pretrain is not None and config.model.pretrain.device == "cpu",
                    priority=cost + work.priority,
                    engine=work.engine,
                )
        return list(bases.values())


def _chained(works: Sequence[Work]) -> list[Work]:
    """Give each run the time of the longest chain of stages that begins with it, which sets the order.

    A stage that is not of this launch is finished already, or the run says that it is not.
    """
    after: dict[str, list[Work]] = {}
    for work in works:
        for stage in work.stages:
            after.setdefault(stage, []).append(work)
    names = {work.name for work in works}

    def seconds(work: Work) -> float:
        return work.cost + max(map(seconds, after.get(work.name, ())), default=0.0)

    return [
        replace(work, priority=seconds(work), stages=tuple(s for s in work.stages if s in names))
        for work in works
    ]


def places(
    device: str, threads: int, *, workers: int | None, warm: bool, per_gpu: int, beside_gpus: int
) -> list[str | None]:
    """List places for runs: GPUs (values of CUDA_VISIBLE_DEVICES), "" a lasting CPU process, None one a run.

    Raises ConfigError for CPU workers beside GPUs where there is no GPU, or runs may not use the CPU.
    """
    found: list[str | None] = [*gpus() * per_gpu] if has_gpu(device) else []
    if beside_gpus and (not found or device == "cuda"):
        why = f"device={device} keeps runs on GPUs" if found else "no GPU is used here"
        remedy = "set device=auto" if found else "set hydra.launcher.workers"
        raise ConfigError(f"hydra.launcher.beside_gpus={beside_gpus}: {why}; {remedy}, or drop it")
    found += [""] * beside_gpus
    num = workers or len(found) or max(1, num_cores() // threads)
    return found[:num] or [""] * num if warm or found else [None] * num


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """A value of CUDA_VISIBLE_DEVICES for each GPU that this process may use."""
    import torch

    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return shown.split(",") if shown else [str(i) for i in range(torch.cuda.device_count())]


def _engine(config: RunConfig) -> str:
    """Key of the rollout engine: runs with the same key can share one, so they follow each other."""
    return f"{config.model.name} {config.dtype} {config.rollout.engine} {config.rollout.max_batch_size}"


def _job_return(work: Work, outcome: tuple[str, str]) -> JobReturn:
    ended = JobReturn(overrides=list(work.overrides), status=JobStatus.COMPLETED)
    ended.return_value = outcome
    return ended
