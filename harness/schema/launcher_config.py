"""The schema of hydra.launcher: where a launch's runs go. Imports no torch.

The values that a launcher has by default stand in conf/hydra/launcher/<name>.yaml alone.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from harness.schema.explain import explain
from harness.schema.run_config import ConfigError
from harness.schema.section import Check, NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section


class ProcessSettings(Section):
    """Processes of this machine (harness/launch/workers.py)."""

    name: Literal["process"]
    """The launcher, as hydra/launcher=process names it."""
    workers: Positive | None
    """Runs at once; null: one a GPU, or on CPUs as many as cores / threads."""
    warm: bool
    """Keep a process on CPUs for run after run, as GPUs have it."""
    per_gpu: Positive
    """Processes that share each GPU."""
    beside_gpus: NonNegative
    """CPU processes that take runs while the GPUs do."""
    silence: PositiveFloat
    """Seconds without a sign of life after which a process counts as hung and is killed."""


class SlurmSettings(Section):
    """Jobs of a Slurm cluster (harness/launch/slurm.py)."""

    name: Literal["slurm"]
    """The launcher, as hydra/launcher=slurm names it."""
    partition: str | None
    """Partition of the jobs; null: the cluster's default."""
    account: str | None
    """Account that is charged; null: the user's own."""
    qos: str | None
    """Quality of service; null: the cluster's default."""
    constraint: str | None
    """Features that a node must have, as sbatch's --constraint; null: any node."""
    timeout_min: Positive
    """Time limit of a job in minutes; a run that needs longer is saved, requeued and resumed."""
    signal_delay_s: Positive
    """Seconds before the time limit at which the run is told to save itself."""
    max_timeouts: NonNegative
    """How often a job may be requeued at its time limit."""
    gpus: NonNegative | None
    """GPUs a process; null: one where device is not cpu, else none."""
    cpus: Positive | None
    """Cores a process; null: the run's threads."""
    mem_gb: PositiveFloat | None
    """Memory of a node in GB; null: the cluster's default."""
    nodes: Positive
    """Nodes of a job; more than one only for a run that is sharded over its processes."""
    processes: Positive
    """Processes a node that share one run (FSDP); more than one only for a sharded run."""
    max_jobs: Positive
    """Jobs of one array at once."""
    pack_minutes: NonNegativeFloat
    """Short runs are put into one job until it is expected to take this long; 0: one run a job."""
    retries: NonNegative
    """How often a run starts again whose job was killed or lost; a run that failed by itself does not."""
    poll: PositiveFloat
    """Seconds between two looks at the queue."""
    settle: NonNegativeFloat
    """Seconds after a job's end in which its files may still arrive from its node."""
    setup: list[str]
    """Shell lines before the run: [module load cuda]."""
    sbatch: dict[str, Any]
    """Further options of sbatch: {gres: "gpu:a100:1"}."""

    checks: ClassVar[tuple[Check[SlurmSettings], ...]] = (
        Check(
            lambda c: c.signal_delay_s >= 60 * c.timeout_min,
            "signal_delay_s={c.signal_delay_s}: before a job of {c.timeout_min} min begins; raise that",
        ),
        Check(
            lambda c: c.gpus is not None and c.gpus > 1,
            "gpus={c.gpus}: a process uses one GPU; give processes={c.gpus}, which share a run, with gpus=1",
        ),
    )


class RaySettings(Section):
    """Tasks of a Ray cluster (harness/launch/ray_tasks.py)."""

    name: Literal["ray"]
    """The launcher, as hydra/launcher=ray names it."""
    address: str | None
    """The cluster: auto, host:port or ray://host:port; null: a Ray on this machine alone, for the launch."""
    cpus: Positive | None
    """Cores a process; null: the run's threads."""
    gpus: NonNegativeFloat | None
    """GPUs a process, or a fraction that small models share: 0.25; null: one where device is not cpu."""
    processes: Positive
    """Processes that share one run (FSDP), placed together; more than one only for a sharded run."""
    retries: NonNegative
    """How often a run starts again whose worker or node died; a run that failed by itself does not."""
    poll: PositiveFloat
    """Seconds between two looks at what has ended."""
    env: dict[str, str]
    """Environment variables of the workers, beside those that the launch passes on."""


LauncherSettings = ProcessSettings | SlurmSettings | RaySettings
_KINDS: dict[str, type[ProcessSettings | SlurmSettings | RaySettings]] = {
    "process": ProcessSettings,
    "slurm": SlurmSettings,
    "ray": RaySettings,
}


def read_launcher(fields: dict[str, Any]) -> LauncherSettings:
    """Raises ConfigError for settings that the launcher cannot take, or does not have."""
    kind = _KINDS.get(str(fields.get("name")))
    if kind is None:
        raise ConfigError(
            f"hydra.launcher.name={fields.get('name')}: choose hydra/launcher={' or '.join(_KINDS)}"
        )
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"hydra.launcher.{explain(error, kind)}") from None
