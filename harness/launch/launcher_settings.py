"""The settings of the launcher that hydra/launcher names, as Hydra composes them."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from harness.launch.compose import Composer
from harness.model.machine import num_processes
from harness.schema.launcher_config import LauncherSettings, ProcessSettings, SlurmSettings, read_launcher
from harness.schema.presets import CONF
from harness.schema.run_config import ConfigError


def launcher_settings(composer: Composer, lines: Sequence[str]) -> LauncherSettings:
    """The launcher's settings. Raises ConfigError for one that does not exist, or values it cannot take."""
    GlobalHydra.instance().clear()
    initialize_config_dir(str(CONF), version_base="1.3")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        config = hydra.compose_config(
            "config",
            [*composer.search, *lines],
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=False,
        )
    except HydraException as error:
        text = " ".join(str(error).split("\n")[:2])
        known = ", ".join(composer.options("hydra/launcher"))
        raise ConfigError(f"{', '.join(lines)}: {text}; launchers: {known}") from None
    fields = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    assert isinstance(fields, dict)
    return read_launcher({str(name): value for name, value in fields.items()})


def processes_of(settings: LauncherSettings) -> int:
    """Processes that share a run under a launcher."""
    if isinstance(settings, ProcessSettings):
        return 1
    return settings.processes * (settings.nodes if isinstance(settings, SlurmSettings) else 1)


def shared_by(composer: Composer, lines: Sequence[str]) -> int:
    """Processes that share each run of this launch: torchrun's, or the launcher's; 1 if that is not valid."""
    if (number := num_processes()) > 1 or not any("launcher" in line for line in lines):
        return number
    try:
        return processes_of(launcher_settings(composer, lines))
    except ConfigError:  # it is reported when the launch begins
        return 1
