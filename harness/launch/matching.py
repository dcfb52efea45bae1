"""Match the free places of a launch to its jobs: GPUs, CPU workers beside them, and cores for bases.

A place is None (a child for one job), "" (a lasting child on the CPU) or a value of CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from harness.launch.worker import Work

# A run's seconds on one core over those on a GPU that twelve runs share: ladder_xs on an H200, 24 steps.
SLOWER = 4.0
Taker = TypeVar("Taker")


class Matcher:
    """Match free places and ready jobs: longest jobs first, in a lasting child those of its engine.

    Where GPUs and CPU workers share a launch, all runs of a seed stay on one side: the one in `sides`
    (seed -> on a GPU?), else that of the first of them. A CPU worker begins a seed only if CPUs will be done
    with it before GPUs are done with the rest. Where places for one job stand beside GPUs, they make the
    bases that the CPU pretrains, and no GPU waits for one.
    """

    def __init__(self, places: Sequence[str | None], sides: Mapping[int, bool]) -> None:
        self.num_gpus, self.num_cpus = sum(map(bool, places)), places.count("")
        self.bases_apart = bool(self.num_gpus) and None in places
        self.mixed = bool(self.num_gpus and self.num_cpus)
        self.sides = dict(sides) if self.mixed else {}

    def match(
        self,
        free: Sequence[tuple[Taker, str | None, str]],
        ready: Sequence[Work],
        unfinished: Sequence[Work],
    ) -> tuple[Taker, Work] | None:
        """The first free place that may take a ready job, and that job; None if no place may.

        `free`: (what to return, its place, its engine or ""). `unfinished`: every job that has not ended.
        """
        for taker, place, engine in free:
            jobs = [work for work in ready if self._may(place, work, unfinished)]
            bound = [work for work in jobs if work.is_base or work.config.seed in self.sides] or jobs
            if bound:
                work = next((w for w in bound if engine and w.engine == engine), bound[0])
                if self.mixed and not work.is_base:
                    self.sides.setdefault(work.config.seed, bool(place))
                return taker, work
        return None

    def _may(self, place: str | None, work: Work, unfinished: Sequence[Work]) -> bool:
        if self.bases_apart and (place is None or work.on_cpu):
            return place is None and work.on_cpu
        if work.is_base or not self.mixed:
            return True
        side = self.sides.get(work.config.seed)
        if side is not None:
            return side == bool(place)
        return bool(place) or self._pays(work.config.seed, unfinished)

    def _pays(self, seed: int, unfinished: Sequence[Work]) -> bool:
        """Whether CPU workers will be done with this seed before GPUs are with all that is left to them."""
        runs = [work for work in unfinished if not work.is_base]
        on_cpus = sum(w.cost for w in runs if not self.sides.get(w.config.seed, w.config.seed != seed))
        on_gpus = sum(w.cost for w in runs if self.sides.get(w.config.seed, True))
        return SLOWER * on_cpus / self.num_cpus <= on_gpus / self.num_gpus
