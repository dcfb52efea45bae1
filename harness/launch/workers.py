"""Child processes for a sweep, from a fork server that has paid the imports once.

On CPUs there is a child for each job; each GPU has lasting children, whose engines serve run after run
(harness.rollout.process_cache). Where both are used a seed stays on one side, as arms are compared by seed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from harness.launch.jobs import EXECUTE, not_started, unfinished
from harness.launch.matching import Matcher
from harness.launch.signals import Preempted
from harness.launch.worker import Outcome, Work, serve
from harness.records.progress import Display

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

# What a run imports on its way, paid once in the fork server instead of in every child.
PRELOAD = [
    "torch",
    "torch._dynamo",  # drawing the first random weights imports it
    "harness.launch.execute",
    "harness.evaluation.engine_lm",
    "lm_eval.evaluator",
    "lm_eval.tasks",
    "wandb",
]
GRACE = 20.0  # seconds a child has to stop: more than it gives the step under way
HELD_AGAIN = 5.0  # seconds until a run is tried again that another launch has under way


def run_all(
    works: Sequence[Work],
    *,
    places: Sequence[str | None],
    display: Display,
    silence: float,
    sides: Mapping[int, bool],
) -> dict[str, Outcome]:
    """Run every job, one at a place, longest first; a run starts once its bases were tried.

    A child that dies costs its own job: outcome ("failed", "killed by signal 9"). On KeyboardInterrupt the
    children are stopped, their outcomes recorded as interrupted, and the interrupt is raised again.

    A place is None, a child for each job, or a value of CUDA_VISIBLE_DEVICES ("": the CPU), one lasting
    child. That is replaced when a run failed: an error on a GPU may leave the whole process unable to use
    it. A child without a sign of life for `silence` seconds (it is stopped, or stuck in the kernel) is
    killed, and its job has failed. `sides` (seed -> on a GPU?) and which place takes what: Matcher.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_preload(works))
    pending = sorted(works, key=lambda w: -max(w.priority, w.cost))
    seats = list(places)
    matcher = Matcher(seats, sides)
    active: dict[str, _Child] = {}
    idle: list[_Child] = []
    outcomes: dict[str, Outcome] = {}
    again: dict[str, float] = {}  # held run -> when to try it
    try:
        while pending or active:
            _end_barred(pending, outcomes, display)
            ready = _ready(pending, outcomes, works, again)
            while found := matcher.match(_free(idle, seats), ready, [*pending, *_works(active)]):
                place, work = found
                child = _child_at(place, context, idle, seats)
                ready.remove(work)
                pending.remove(work)
                if work.name not in again:
                    display.start(work.name)
                active[work.name] = child
                child.start(work)
            for name in _ended(active, display, silence):
                child = active.pop(name)
                ended = child.outcome()
                if ended[0] == "held":
                    pending.append(child.work)
                    _await(name, ended[1], again, display)
                else:
                    outcomes[name] = ended
                    display.end(name, *ended)
                if child.usable:
                    idle.append(child)
                else:
                    seats.append(child.device)
    except KeyboardInterrupt as error:
        _stop(active, display, signal.SIGTERM if isinstance(error, Preempted) else signal.SIGINT)
        raise
    finally:
        for child in idle:
            child.close()
    return outcomes


def _child_at(place: Any, context: Any, idle: list[_Child], seats: list[str | None]) -> _Child:
    """Take an idle child, or start one at a free seat."""
    if isinstance(place, _Child):
        idle.remove(place)
        return place
    seats.remove(place)
    return _Child(context, place)


def _await(name: str, holder: str, again: dict[str, float], display: Display) -> None:
    """Set when a run that another launch has under way is tried again, and say once who has it.

    Once that launch ends, the run is skipped, or goes on here.
    """
    if name not in again:
        display.say(f"{display.name(name)}  {holder}; waiting for it")
        display.update(name, "waiting", 0, 0)
    again[name] = time.monotonic() + HELD_AGAIN


def _preload(works: Sequence[Work]) -> list[str]:
    """Modules for the fork server to import; W&B where a run is tracked, none of ours for stand-ins."""
    modules = {w.function.partition(":")[0] for w in works}
    tracked = any(w.config.tracking.mode != "disabled" for w in works)
    heavy = PRELOAD if EXECUTE.partition(":")[0] in modules else ()
    return [*(name for name in heavy if name != "wandb" or tracked), *modules]


def _ready(
    pending: Sequence[Work],
    outcomes: Mapping[str, Outcome],
    works: Sequence[Work],
    again: Mapping[str, float],
) -> list[Work]:
    """The jobs that may start now, in order: their bases were tried, and the stages before are done.

    Held ones wait for their time in `again`.
    """
    missing, now = {w.name for w in works} - outcomes.keys(), time.monotonic()
    return [w for w in pending if missing.isdisjoint((*w.needs, *w.stages)) and again.get(w.name, 0.0) <= now]


def _barred(pending: Sequence[Work], outcomes: Mapping[str, Outcome]) -> list[tuple[Work, Outcome]]:
    """The jobs that wait for a stage that did not finish, and what becomes of them: the same."""
    found = [(work, unfinished(work.stages, outcomes)) for work in pending]
    return [(work, not_started(stage, outcomes[stage])) for work, stage in found if stage is not None]


def _end_barred(pending: list[Work], outcomes: dict[str, Outcome], display: Display) -> None:
    """End the stages whose beginning was not to be, with the same outcome, and those after them."""
    while barred := _barred(pending, outcomes):
        for work, outcome in barred:
            pending.remove(work)
            outcomes[work.name] = outcome
            display.end(work.name, *outcome)


def _free(
    idle: Sequence[_Child], seats: Sequence[str | None]
) -> list[tuple[_Child | str | None, str | None, str]]:
    """Places that can take a job, as `Matcher.match` reads them: children that wait, then empty seats."""
    waiting = [(child, child.device, child.engine) for child in idle]
    return [*waiting, *((seat, seat, "") for seat in seats)]


def _works(active: Mapping[str, _Child]) -> list[Work]:
    return [child.work for child in active.values()]


def _ended(active: dict[str, _Child], display: Display, silence: float) -> list[str]:
    """Show the children's messages, and name those that ended or were hung. Waits up to half a second."""
    began = time.monotonic()
    ready = wait([c.messages for c in active.values() if not c.closed], timeout=0.5)
    for name, child in active.items():
        if child.messages in ready:
            for phase, done, total, note in child.receive():
                display.update(name, phase, done, total, note)
        # A second at most for each look: where this process was stopped too, nothing is held against a child.
        child.silent = 0.0 if child.messages in ready else child.silent + min(time.monotonic() - began, 1.0)
        if child.silent > silence and child.process.is_alive():
            child.hung = f"no sign of life for {silence:g} s (hydra.launcher.silence): killed"
            child.process.kill()
            child.process.join(5)
    return [name for name, child in active.items() if child.done]


class _Child:
    """A process, a pipe for its jobs and a pipe for its messages.

    Each child has pipes of its own: a shared queue stays locked when a writer is killed. Without a `device`
    it ends after its first job.
    """

    def __init__(self, context: Any, device: str | None) -> None:
        self.device, self.closed, self.last_note, self.engine = device, False, "", ""
        self.result: Outcome | None = None
        self.silent, self.hung = 0.0, ""
        self.messages, writer = context.Pipe(duplex=False)
        reader, self.jobs = context.Pipe(duplex=False)
        # What runs on a GPU may start processes of its own, which a daemon may not.
        arguments = (reader, writer, device)
        self.process: ForkServerProcess = context.Process(target=serve, args=arguments, daemon=device is None)
        self.process.start()
        reader.close()
        writer.close()

    def start(self, work: Work) -> None:
        self.work, self.result, self.last_note, self.engine = work, None, "", work.engine
        self.silent = 0.0
        work.log.parent.mkdir(parents=True, exist_ok=True)
        with suppress(BrokenPipeError):  # it died while it was idle; its exit code says so
            self.jobs.send(work)
        if self.device is None:
            self.jobs.close()

    @property
    def done(self) -> bool:
        """Whether its job has ended, well or not."""
        if self.closed or not self.process.is_alive():
            return True
        return self.device is not None and self.result is not None

    @property
    def usable(self) -> bool:
        """Whether it can be given another job."""
        return not self.messages.closed

    def receive(self) -> list[tuple[str, int, int, str]]:
        found = []
        try:
            while self.messages.poll():
                kind, *rest = self.messages.recv()
                if kind == "progress":
                    found.append(tuple(rest))
                    self.last_note = rest[-1] or self.last_note
                elif kind == "result":
                    self.result = (rest[0], rest[1])
        except (EOFError, OSError):
            self.closed = True
        return found

    def outcome(self) -> Outcome:
        """How the job ended. The process has ended too afterwards, unless it can take another job."""
        self.receive()
        lasts = self.device is not None and not self.closed and self.process.is_alive()
        if not (lasts and self.result and self.result[0] in ("finished", "skipped", "held")):
            self.close()
        if self.result:
            outcome, reason = self.result
            return outcome, reason or (self.last_note if outcome in ("held", "skipped", "failed") else "")
        code = self.process.exitcode
        if self.hung:
            return "failed", self.hung
        if code is not None and code < 0:
            return "failed", f"killed by signal {-code}"
        return "failed", f"its process ended with exit code {code}; see {self.work.log}"

    def close(self) -> None:
        """Send no more jobs: the process ends by itself; a lasting one is killed after GRACE seconds."""
        self.jobs.close()
        self.process.join(GRACE)
        if self.process.is_alive() and self.device is not None:
            self.process.kill()
            self.process.join(5)
        self.messages.close()


def _stop(active: dict[str, _Child], display: Display, number: int) -> None:
    """Pass the signal on, so that a run can record that it was interrupted; after GRACE seconds SIGKILL."""
    for child in active.values():
        child.jobs.close()  # no other job will come: a lasting child ends with this one
        if child.process.pid:
            _signal(child.process.pid, number)
    deadline = time.monotonic() + GRACE
    try:
        for child in active.values():
            child.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for name, child in active.items():
            if child.process.is_alive():
                child.process.kill()
                child.process.join(5)
            display.end(name, "interrupted")


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
