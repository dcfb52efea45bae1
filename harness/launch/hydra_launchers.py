"""Hydra's launchers: our own for one machine, and joblib, Submitit and Ray where they are installed.

All get the same overrides and the same task, `run_task`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from harness.launch.compose import NO_SETTINGS, Composer
from harness.launch.expand import Sweep
from harness.launch.jobs import EXECUTE, Functions, load
from harness.launch.launcher import ProcessLauncher
from harness.records.progress import Display
from harness.schema.own_function import freeze, own_functions
from harness.schema.presets import CONF, with_components, with_own_presets
from harness.schema.run_config import ConfigError, validate

PROCESS = "harness.launch.launcher.ProcessLauncher"


# What to write in the place of a setting of Hydra's that nothing here reads.
INSTEAD = {
    "hydra.searchpath": "use --config-dir DIR",
    "hydra.sweeper": "list the values: seed=0,1",
    "hydra.launcher._target_": "choose one: hydra/launcher=...",
    "hydra.run": "use output_dir=... and study=...",
    "hydra.sweep": "use output_dir=... and study=...",
    "hydra.job": "use study=...",
}
PLUGINS_READ = ("hydra.sweep.", "hydra.job.", "hydra.callbacks")  # launchers that are not our own
LAUNCHER = "hydra.launcher"


def check_launcher(sweep: Sweep, *, alone: bool) -> None:
    """Raises ConfigError for a setting of Hydra's that the launch does not read. `alone`: no sweep."""
    own = not any(
        line.startswith("hydra/launcher=") and line != "hydra/launcher=process" for line in sweep.launcher
    )
    for line in sweep.launcher:
        key = line.lstrip("+~").partition("=")[0].replace("/", ".")
        if key == f"{LAUNCHER}._target_" or not (
            key.startswith(LAUNCHER) or (key.startswith(PLUGINS_READ) and not own and not alone)
        ):
            known = max((start for start in INSTEAD if key.startswith(start)), key=len, default="")
            raise ConfigError(f"{line}: nothing reads it; {INSTEAD.get(known, 'leave it out')}")
        if alone:
            raise ConfigError(
                f"{line}: one run starts in this process, without a launcher; add -m, or leave it out"
            )
    if sweep.launcher:
        launcher_settings(master_config(sweep))


def is_local(sweep: Sweep) -> bool:
    """Whether runs start on this machine, by our own launcher."""
    return not sweep.launcher or launcher_settings(master_config(sweep))["_target_"] == PROCESS


def run_task(
    config: DictConfig,
    *,
    execute: str = EXECUTE,
    flags: Sequence[str] = (),
    sources: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """The task of every launcher: validate what Hydra composed, and run it. Returns the outcome.

    `sources` are the user's own functions as they stood at the launch, by path. Hydra knows of no stages: one
    is composed again from its overrides.
    """
    overrides = list(HydraConfig.get().overrides.task)
    own = [flag.partition("=")[2] for flag in flags]
    if config.get("pipeline") is not None:
        checked = Composer(own[0] if own else None).config(overrides)
        return load(execute)(checked, overrides=[*flags, *overrides], report=_print_report)
    data = OmegaConf.to_container(config, resolve=True)
    assert isinstance(data, dict)
    folders = [root / "data" for root in (CONF, *map(Path, own))]
    data["data"] = with_components(data["data"], folders)
    data["eval"] = with_own_presets(data["eval"], folders)
    freeze({str(key): value for key, value in data.items()}, sources)
    checked = validate({str(key): value for key, value in data.items() if key not in NO_SETTINGS})
    return load(execute)(checked, overrides=[*flags, *overrides], report=_print_report)


def _print_report(phase: str, done: int, total: int, note: str = "") -> None:
    if done in (0, total):
        print(f"{phase} {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)


def make_launcher(
    sweep: Sweep,
    *,
    display: Display,
    costs: dict[str, float],
    functions: Functions,
    sides: dict[int, bool],
) -> Launcher:
    """The launcher that hydra/launcher names, set up. Raises ConfigError for one that is not installed."""
    Plugins.instance().register(ProcessLauncher)
    config = master_config(sweep)
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
    own = [one for job in sweep.jobs for _, one in own_functions(job.config.model_dump())]
    sources = {one["path"]: (str(one["sha256"]), str(one["source"])) for one in own}
    task = partial(run_task, execute=functions.execute, flags=sweep.composer.flags, sources=sources)
    settings = launcher_settings(config)
    if settings.pop("_target_") == PROCESS:
        # Hydra instantiates plugins of the package hydra_plugins alone.
        launcher = ProcessLauncher(**settings)
        launcher.setup(hydra_context=context, task_function=task, config=config)
        launcher.functions, launcher.compose = functions, sweep.composer.config
        launcher.flags = sweep.composer.flags
        launcher.costs, launcher.display, launcher.sides = costs, display, sides
        return launcher
    setup_globals()
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def master_config(sweep: Sweep) -> DictConfig:
    """Hydra's own config with the launcher's settings; its job folders lie in the study's."""
    first = sweep.jobs[0].config
    folder = str(Path(first.output_dir) / first.study).replace("\\", "\\\\").replace("'", "\\'")
    overrides = [*sweep.composer.search, f"hydra.sweep.dir='{folder}'", *sweep.launcher]
    GlobalHydra.instance().clear()
    initialize_config_dir(str(CONF), version_base="1.3", job_name=first.study)
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        return hydra.compose_config(
            "config", overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )
    except HydraException as error:
        text = " ".join(str(error).split("\n")[:2])
        known = ", ".join(hydra.config_loader.get_group_options("hydra/launcher"))
        raise ConfigError(f"{', '.join(sweep.launcher)}: {text}; installed launchers: {known}") from None


def launcher_settings(config: DictConfig) -> dict[str, Any]:
    """The fields of hydra.launcher. Raises ConfigError for values that our own launcher cannot take."""
    settings = {str(key): value for key, value in config.hydra.launcher.items()}
    if settings["_target_"] != PROCESS:
        return settings
    for name, null in (("workers", ", or null for every core"), ("per_gpu", "")):
        value = settings[name]
        if not (value is None and null) and not (type(value) is int and value > 0):
            raise ConfigError(f"hydra.launcher.{name}={value}: give a positive number{null}")
    beside = settings["beside_gpus"]
    if type(beside) is not int or beside < 0:
        raise ConfigError(f"hydra.launcher.beside_gpus={beside}: give a number of CPU workers, or 0")
    silence = settings["silence"]
    if type(silence) not in (int, float) or not silence > 0:
        raise ConfigError(f"hydra.launcher.silence={silence}: give a positive number of seconds")
    if type(settings["warm"]) is not bool:
        raise ConfigError(f"hydra.launcher.warm={settings['warm']}: give true or false")
    return settings
