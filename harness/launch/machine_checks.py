"""What runs need of the machine on which they start: memory, and a GPU for what only it does. No torch."""

from __future__ import annotations

from harness.launch.costs import on_gpu
from harness.launch.expand import Sweep
from harness.launch.launchers import is_local
from harness.model import verl_memory
from harness.model.preflight import check_fits
from harness.schema.run_config import ConfigError


def check_machine(sweep: Sweep) -> None:
    """Raises ConfigError for a run that this machine lacks a GPU or memory for; seeds do not matter."""
    if not is_local(sweep):
        return
    for config in {job.config.model_dump_json(exclude={"seed"}): job.config for job in sweep.runs}.values():
        if config.rollout.exact and not on_gpu(config):
            raise ConfigError(
                "rollout.exact=true: its kernels need a GPU, and this machine shows none; set it to false"
            )
        if config.trainer.engine == "verl":
            verl_memory.check_fits(config)
        else:
            check_fits(config)


def machine_warnings(sweep: Sweep) -> list[str]:
    """Settings that do nothing on this machine."""
    asked = [job.config for job in sweep.runs if job.config.rollout.cache == "paged"]
    if is_local(sweep) and any(not on_gpu(config) for config in asked):
        return [
            "rollout.cache=paged: it is the cache of the GPU's sampler, and this machine shows no GPU; "
            "nothing changes here but the run's name"
        ]
    return []
