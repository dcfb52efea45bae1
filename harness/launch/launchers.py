"""The launcher that hydra/launcher names: its settings, and its call. Hydra only composes them.

process: harness/launch/launcher.py; slurm: slurm.py; ray: ray_tasks.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.launch.expand import Sweep
from harness.launch.launcher import own_code_first, run_here, seats_of
from harness.launch.launcher_settings import launcher_settings, processes_of
from harness.launch.worker import Outcome, Work
from harness.records.progress import Display
from harness.schema.launcher_config import LauncherSettings, ProcessSettings, SlurmSettings
from harness.schema.run_config import ConfigError

LAUNCHER = "hydra.launcher"
# What to write in the place of a setting of Hydra's that nothing here reads.
INSTEAD = {
    "hydra.searchpath": "use --config-dir DIR",
    "hydra.sweeper": "list the values: seed=0,1",
    f"{LAUNCHER}._target_": "choose one: hydra/launcher=...",
    "hydra.run": "use output_dir=... and study=...",
    "hydra.sweep": "use output_dir=... and study=...",
    "hydra.job": "use study=...",
}


def check_launcher(sweep: Sweep, *, alone: bool) -> None:
    """Raises ConfigError for a setting of Hydra's that the launch does not read.

    `alone`: one run without -m, which starts in this process unless a cluster's launcher is named.
    """
    for line in sweep.launcher:
        key = line.lstrip("+~").partition("=")[0].replace("/", ".")
        if key == f"{LAUNCHER}._target_" or not key.startswith(LAUNCHER):
            known = max((start for start in INSTEAD if key.startswith(start)), key=len, default="")
            raise ConfigError(f"{line}: nothing reads it; {INSTEAD.get(known, 'leave it out')}")
    if sweep.launcher and is_local(sweep) and alone:
        raise ConfigError(
            f"{sweep.launcher[0]}: one run starts in this process, without a launcher; add -m, or drop it"
        )


def is_local(sweep: Sweep) -> bool:
    """Whether runs start on this machine. Raises ConfigError as `settings_of`."""
    return not sweep.launcher or isinstance(settings_of(sweep), ProcessSettings)


def settings_of(sweep: Sweep) -> LauncherSettings:
    """The launcher's settings. Raises ConfigError for one that does not exist, or values it cannot take."""
    return launcher_settings(sweep.composer, sweep.launcher)


def workers_of(sweep: Sweep) -> int:
    """How many runs a launch has at once, at most. Raises ConfigError for settings that do not fit."""
    settings = settings_of(sweep)
    configs = [job.config for job in sweep.runs]
    threads = max(config.threads for config in configs)
    if isinstance(settings, ProcessSettings):
        return len(seats_of(configs, settings))
    if any(config.trainer.engine == "verl" for config in configs):
        raise ConfigError(
            f"trainer.engine=verl with hydra/launcher={settings.name}: verl starts or joins a Ray cluster of "
            "its own; launch inside an allocation with hydra/launcher=process (harness/launch/large.md)"
        )
    number = processes_of(settings)
    if number > 1:
        from harness.training.distributed import check_supported

        for one in {job.config.model_dump_json(exclude={"seed"}): job.config for job in sweep.runs}.values():
            check_supported(one, number)
    if isinstance(settings, SlurmSettings):
        from harness.launch.slurm import check_installed

        check_installed()
        return settings.max_jobs
    from harness.launch import ray_tasks

    ray_tasks.check_installed()
    return ray_tasks.num_at_once(settings, len(sweep.runs), threads)


def run_works(
    sweep: Sweep, works: Sequence[Work], *, display: Display, study: Path, sides: Mapping[int, bool]
) -> dict[str, Outcome]:
    """Run bases and runs by the launcher of the sweep: (outcome, reason) by name."""
    settings = settings_of(sweep)
    with own_code_first(max(work.config.threads for work in works)):
        if isinstance(settings, ProcessSettings):
            return run_here(works, settings, display=display, sides=sides)
        if isinstance(settings, SlurmSettings):
            from harness.launch.slurm import run_on_slurm

            return run_on_slurm(works, settings, display=display, study=study)
        from harness.launch.ray_tasks import run_on_ray

        return run_on_ray(works, settings, display=display, study=study)
