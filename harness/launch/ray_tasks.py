"""Runs as tasks of a Ray cluster, by Ray's own API: this process submits them, and they end with it.

A run whose worker or node dies starts again elsewhere and resumes; the study's folder must be the same on
every node. Imports neither torch nor, before it is used, Ray.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from harness.launch import signals
from harness.launch.jobs import not_started, unfinished
from harness.launch.launcher import num_cores
from harness.launch.ray_node import address, stop_file, task
from harness.launch.worker import Outcome, Work
from harness.records.cluster_jobs import jobs_folder, read_state
from harness.records.progress import Display
from harness.schema.launcher_config import RaySettings
from harness.schema.run_config import ConfigError

GRACE = 30.0  # seconds that cancelled tasks have to save
HELD_AGAIN = 30.0  # seconds until a run is tried again that a process outside Ray held
PASSED = (
    "PYTHONPATH",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "MATH_DATA_DIR",
    "HF_HOME",
    "HF_HUB_OFFLINE",
)  # environment variables of the launch that its workers get


def check_installed() -> None:
    """Raises ConfigError without Ray."""
    if find_spec("ray") is None:
        raise ConfigError("hydra/launcher=ray: Ray is not installed; pip install '.[ray]'")


def num_at_once(settings: RaySettings, num_runs: int, threads: int) -> int:
    """How many runs are under way at once: what this machine holds, or all on a cluster."""
    if settings.address is not None:
        return num_runs
    return max(1, num_cores() // ((settings.cpus or threads) * settings.processes))


@dataclass
class Tasks:
    """One launch's tasks: what is left to do, and which tasks (one a process) have each run now."""

    works: dict[str, Work]
    settings: RaySettings
    folder: Path
    display: Display
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    active: dict[str, list[Any]] = field(default_factory=dict)  # run -> references of its tasks
    groups: dict[str, Any] = field(default_factory=dict)  # run -> placement group of a sharded one
    lost: dict[str, int] = field(default_factory=dict)  # run -> how often a worker of it died
    not_before: dict[str, float] = field(default_factory=dict)
    launch: str = field(default_factory=lambda: uuid4().hex[:8])

    def job(self, name: str) -> str:
        """Name of the file in which a run's task says how far it is."""
        return f"ray-{self.launch}-{list(self.works).index(name)}"

    def end(self, name: str, outcome: Outcome) -> None:
        self.outcomes[name] = outcome
        self.display.end(name, *outcome)


def run_on_ray(
    works: Sequence[Work], settings: RaySettings, *, display: Display, study: Path
) -> dict[str, Outcome]:
    """Run everything on a Ray cluster: (outcome, reason) by name.

    A signal to this process stops the tasks, which save first. Raises ConfigError where no cluster answers.
    """
    import ray

    _connect(settings)
    now = Tasks({work.name: work for work in works}, settings, jobs_folder(study), display)
    try:
        while len(now.outcomes) < len(now.works):
            _end_barred(now)
            for name in _ready(now):
                _start(now, name)
            references = [one for tasks in now.active.values() for one in tasks]
            if references:
                ray.wait(references, num_returns=1, timeout=settings.poll)
            else:
                time.sleep(settings.poll)
            for name in list(now.active):
                _see(now, name)
    except KeyboardInterrupt:
        _stop(now)
        raise
    finally:
        ray.shutdown()
    return now.outcomes


def _connect(settings: RaySettings) -> None:
    """Join the cluster, or start one here; the launch keeps its own handlers of signals."""
    import ray

    environment = {name: os.environ[name] for name in PASSED if name in os.environ}
    local: dict[str, Any] = {"include_dashboard": False} if settings.address is None else {}
    try:
        _reach(settings.address)
        ray.init(
            address=settings.address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {**environment, **settings.env}},
            **local,
        )
    except (OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"hydra.launcher.address={settings.address}: {said}; start one (ray start --head), name it "
            "as host:port, or give null for this machine alone"
        ) from None
    signals.install()


def _reach(address: str | None) -> None:
    """Raises OSError where nothing listens at host:port, which Ray finds out in minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _ready(now: Tasks) -> list[str]:
    """Runs that have no task, and whose bases and stages were tried."""
    return [
        name
        for name, work in now.works.items()
        if name not in now.outcomes
        and name not in now.active
        and now.not_before.get(name, 0.0) <= time.monotonic()
        and all(o in now.outcomes for o in (*work.needs, *work.stages) if o in now.works)
    ]


def _end_barred(now: Tasks) -> None:
    """End the runs whose stage before did not finish, and those after them."""
    for name, work in now.works.items():  # a stage comes before those that begin from it
        if name not in now.outcomes and (stage := unfinished(work.stages, now.outcomes)) is not None:
            now.end(name, not_started(stage, now.outcomes[stage]))


def _start(now: Tasks, name: str) -> None:
    """Submit a run's task, or one for each of its processes in a placement group."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    work, settings = now.works[name], now.settings
    number = 1 if work.is_base else settings.processes
    cpus, gpus = settings.cpus or work.config.threads, gpus_of(work, settings)
    options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
    given = (work, str(now.folder.absolute()), now.job(name), os.getcwd(), gpus > 0)
    # A process for each task: it may leave a GPU's memory, threads and handlers of signals behind.
    run = ray.remote(max_calls=1)(task)
    if number == 1:
        now.active[name] = [run.options(**options).remote(*given, 0, 1, ("", 0))]
        return
    each = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    group = now.groups[name] = placement_group([each] * number, strategy="PACK")
    bundles = [PlacementGroupSchedulingStrategy(group, rank) for rank in range(number)]
    places = [{**options, "scheduling_strategy": bundle} for bundle in bundles]
    meeting = ray.remote(address).options(**places[0]).remote()
    now.active[name] = [
        run.options(**place).remote(*given, rank, number, meeting) for rank, place in enumerate(places)
    ]


def gpus_of(work: Work, settings: RaySettings) -> float:
    """GPUs of a process: one where the device is not the CPU, unless the settings say."""
    if work.config.device == "cpu" or work.on_cpu:
        return 0.0
    return 1.0 if settings.gpus is None else settings.gpus


def _see(now: Tasks, name: str) -> None:
    """Show a run's progress, or take its outcome once its tasks have ended."""
    import ray

    tasks = now.active[name]
    if (row := read_state(now.folder, now.job(name)).runs.get(name)) is not None and row.outcome is None:
        if name not in now.display.lines:
            now.display.start(name)
        now.display.update(name, row.phase, row.done, row.total, row.note)
    done, left = ray.wait(tasks, num_returns=len(tasks), timeout=0)
    try:
        found = ray.get(done)
    except ray.exceptions.RayError as error:  # a worker or its node died: the others of a run wait in vain
        _drop(now, name, left)
        _lose(now, name, " ".join(str(error).split("\n")[0].split())[:120])
        return
    if left:
        return
    _drop(now, name, left)
    outcome: Outcome = found[0]
    if outcome[0] == "held":
        now.display.say(f"{now.display.name(name)}  {outcome[1]}; tried again until it is free")
        now.not_before[name] = time.monotonic() + HELD_AGAIN
    else:
        now.end(name, outcome)


def _lose(now: Tasks, name: str, why: str) -> None:
    """Count a run whose worker died: it starts again, or has failed."""
    now.lost[name] = now.lost.get(name, 0) + 1
    if now.lost[name] > now.settings.retries:
        now.end(name, ("failed", f"its worker died, the last of {now.lost[name]} tries: {why}"))
    else:
        tries = f"try {now.lost[name] + 1} of {now.settings.retries + 1}"
        now.display.say(f"{now.display.name(name)}  its worker died ({why}); {tries}")


def _drop(now: Tasks, name: str, left: Sequence[Any]) -> None:
    """Forget a run's tasks, end those that are left, and give its placement group back."""
    import ray

    del now.active[name]
    for one in left:
        with suppress(ray.exceptions.RayError):
            ray.cancel(one, force=True)
    if (group := now.groups.pop(name, None)) is not None:
        ray.util.remove_placement_group(group)


def _stop(now: Tasks) -> None:
    """Interrupt the runs under way, so that they save, for GRACE seconds at most; no other begins.

    What is queued is not cancelled: Ray 2.60 can end this process over a task that it is about to start.
    """
    import ray

    now.display.say("stopping: the runs under way save first")
    begun = [name for name in now.active if name in now.display.lines]
    stop = stop_file(now.folder, now.job(next(iter(now.works))))
    stop.parent.mkdir(parents=True, exist_ok=True)
    stop.touch()
    references = [one for name in begun for one in now.active[name]]
    for one in references:
        with suppress(ray.exceptions.RayError):
            ray.cancel(one, force=False)
    if references:
        ray.wait(references, num_returns=len(references), timeout=GRACE)
    for name in begun:
        now.display.end(name, "interrupted")
    ray.shutdown()
    stop.unlink(missing_ok=True)
