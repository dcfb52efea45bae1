"""What a launch does, as `Work`: the bases that are missing, then the runs, with what each waits for.

Every launcher gets the same list (harness/launch/launchers.py). Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.identity import base_id, base_made, bases_of
from harness.launch.jobs import Functions, Job
from harness.launch.worker import Work
from harness.schema.run_config import RunConfig


def works_of(
    jobs: Sequence[Job], *, flags: Sequence[str], functions: Functions, costs: Mapping[str, float]
) -> list[Work]:
    """Bases to make, then these runs. `costs` are expected seconds by name, which set the order.

    A base counts for the longest run that waits for it; `flags` are the command's, which records keep.
    """
    runs = _chained([_work(job, flags, functions, costs.get(job.run_id, 1.0)) for job in jobs])
    return [*_bases(runs, functions, costs), *runs]


def _work(job: Job, flags: Sequence[str], functions: Functions, cost: float) -> Work:
    return Work(
        job.run_id,
        job.config,
        (*flags, *job.overrides),
        functions.execute,
        cost,
        needs=tuple(base_id(base) for base in bases_of(job.config) if not base_made(base)),
        stages=job.config.waits_for,
        engine=_engine(job.config),
    )


def _bases(works: Sequence[Work], functions: Functions, costs: Mapping[str, float]) -> list[Work]:
    """Each base that is missing, once, before the longest run that needs it."""
    bases: dict[str, Work] = {}
    for work, config in [(w, c) for w in works for c in bases_of(w.config)]:
        name = base_id(config)
        cost, found = costs.get(name, 1.0), bases.get(name)
        if name in work.needs and (found is None or found.priority < cost + work.cost):
            bases[name] = Work(
                name,
                config,
                (),
                functions.ensure_base,
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


def _engine(config: RunConfig) -> str:
    """Key of the rollout engine: runs with the same key can share one, so they follow each other."""
    return f"{config.model.name} {config.dtype} {config.rollout.engine} {config.rollout.max_batch_size}"
