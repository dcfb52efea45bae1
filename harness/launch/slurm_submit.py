"""Submitting works to Slurm by Submitit's executor: which jobs, after which others, with what options."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from harness.launch.cluster_job import SlurmJob
from harness.launch.worker import Work
from harness.records.cluster_jobs import Submission, jobs_folder
from harness.schema.launcher_config import SlurmSettings
from harness.schema.run_config import ConfigError

ARRAY = 1000  # elements of an array: one less than Slurm's default MaxArraySize
MAY_PASS = (
    "Unable to contact slurm controller",
    "timed out",
    "temporarily unable to accept job",
    "violates accounting/QOS policy",  # as many jobs as one may have are waiting
    "not available",  # a partition that is down or drained
)  # what Slurm says of a job that it may take later
NO_GRES = "Invalid generic resource"
Array = tuple[list[str], list[list[Work]]]  # jobs to wait for, works of each element


def job_name(study: Path) -> str:
    """The name of a study's jobs in the queue."""
    return f"r1-{study.name}"


def log_of(folder: Path, job: str) -> Path:
    """Output of a job's first process; each run's own is in logs/<run>.txt."""
    return folder / f"{job}_0_log.out"


def awaited(works: Mapping[str, Work], work: Work) -> list[str]:
    """The bases and stages of this launch that a work waits for."""
    return [other for other in (*work.needs, *work.stages) if other in works]


def arrays(
    works: Mapping[str, Work], ready: Sequence[str], job_of: Mapping[str, str], settings: SlurmSettings
) -> list[Array]:
    """Arrays of jobs for the works that are ready: alike in what they wait for and ask for.

    Runs that nothing waits for are packed, the longest first, until a job takes `pack_minutes`. A run that
    several processes share has a job of its own, and so has what others wait for: its exit code is theirs to
    depend on.
    """
    needed = {other for work in works.values() for other in awaited(works, work)}
    sharded = settings.processes * settings.nodes > 1
    found: dict[tuple[Any, ...], list[list[Work]]] = {}
    for work in sorted((works[name] for name in ready), key=lambda w: -max(w.priority, w.cost)):
        waits = tuple(sorted({job_of[name] for name in awaited(works, work) if name in job_of}))
        alone = sharded or work.name in needed
        threads = work.config.threads
        batches = found.setdefault((waits, with_gpu(work, settings), work.is_base, threads, alone), [])
        seconds = 0.0 if alone else 60 * settings.pack_minutes
        if batches and sum(w.cost for w in batches[-1]) + work.cost <= seconds:
            batches[-1].append(work)
        else:
            batches.append([work])
    return [
        (list(key[0]), batches[at : at + ARRAY])
        for key, batches in found.items()
        for at in range(0, len(batches), ARRAY)
    ]


def with_gpu(work: Work, settings: SlurmSettings) -> bool:
    """Whether a job asks for a GPU: where the device is not the CPU, unless the settings say."""
    if work.config.device == "cpu" or work.on_cpu:
        return False
    return settings.gpus is None or settings.gpus > 0


def may_pass(error: ConfigError) -> bool:
    """Whether the same submission may be accepted later."""
    return any(said in str(error) for said in MAY_PASS)


def submit(array: Array, settings: SlurmSettings, study: Path) -> dict[str, Submission]:
    """Submit one array, or a plain job for one element. Raises ConfigError where Slurm refuses it."""
    needs, batches = array
    folder, gpu = jobs_folder(study), with_gpu(batches[0][0], settings)
    executor = _executor(batches[0][0], needs, settings, study)
    try:
        with redirect_stderr(StringIO()), executor.batch():  # Submitit prints what it raises, too
            jobs = [executor.submit(SlurmJob(batch, str(folder.absolute()), gpu)) for batch in batches]
    except Exception as error:  # of sbatch or Submitit, which name no kind of their own
        said = " ".join(str(error).split())[-300:]
        if gpu and NO_GRES in said:
            said += (
                "; a job asks for a GPU unless device=cpu: where the cluster names its GPUs otherwise, "
                "say how, as in hydra.launcher.gpus=0 hydra.launcher.sbatch='{gres: \"gpu:a100:1\"}'"
            )
        raise ConfigError(f"hydra/launcher=slurm: {said}") from error
    return {
        job.job_id: Submission(
            runs=[work.name for work in batch],
            needs=needs,
            log=str(log_of(folder, job.job_id)),
            submitted=datetime.now(UTC).isoformat(timespec="seconds"),
            by=f"process {os.getpid()} on {socket.gethostname()}",
        )
        for batch, job in zip(batches, jobs, strict=True)
    }


def _executor(work: Work, needs: Sequence[str], settings: SlurmSettings, study: Path) -> Any:
    """Submitit's executor with the options of one array. A base is made by one process."""
    import submitit

    nodes, processes = (1, 1) if work.is_base else (settings.nodes, settings.processes)
    more: dict[str, Any] = {"requeue": True, **settings.sbatch}
    if needs:
        more |= {"dependency": f"afterok:{':'.join(needs)}", "kill-on-invalid-dep": "yes"}
    given = {
        "slurm_partition": settings.partition,
        "slurm_account": settings.account,
        "slurm_qos": settings.qos,
        "slurm_constraint": settings.constraint,
        "mem_gb": settings.mem_gb,
        "gpus_per_node": processes if with_gpu(work, settings) else None,
        "slurm_setup": settings.setup or None,
    }
    folder = jobs_folder(study).absolute()
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=settings.max_timeouts)
    executor.update_parameters(
        name=job_name(study),
        timeout_min=settings.timeout_min,
        nodes=nodes,
        tasks_per_node=processes,
        cpus_per_task=settings.cpus or work.config.threads,
        slurm_signal_delay_s=settings.signal_delay_s,
        slurm_array_parallelism=settings.max_jobs,
        slurm_stderr_to_stdout=True,
        slurm_additional_parameters=more,
        **{name: value for name, value in given.items() if value is not None},
    )
    return executor
