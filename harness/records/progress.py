"""Progress on the screen: a live line for each run on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from harness.records.reading import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

PLAIN_EVERY = 10.0  # seconds between two plain lines of one phase
ENDINGS = ("finished", "failed", "skipped", "held", "interrupted")
NOBODY_READS = 141  # exit code: as the shell counts a program that SIGPIPE ends
WIDTH = 80  # columns of a plain line
_HASH = re.compile(r"-[0-9a-f]{8}$")  # at the end of a run's or a base's name
SEND_EVERY = 0.2  # seconds between two messages of one phase from a child


class Reporter(Protocol):
    """A run reports its progress: `report("train", 3, 24, "reward 0.41")`; `total` 0 means unknown."""

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None: ...


@dataclass
class Throttle:
    """Forward the first and last report of a phase, and in between one every `every` seconds."""

    target: Reporter
    every: float = SEND_EVERY
    phase: str = ""
    last: float = 0.0

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if phase == self.phase and done != total and now - self.last < self.every:
            return
        self.phase, self.last = phase, now
        self.target(phase, done, total, note)


@dataclass
class Line:
    """The progress of one job."""

    cost: float
    phase: str = "start"
    done: int = 0
    total: int = 0
    note: str = ""
    ended: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def fraction(self) -> float:
        """Share of the job that is done. A run spends most of its time in `train`, the rest around it."""
        inside = min(1.0, self.done / self.total) if self.total else 0.0
        words = {"pretrain": (0.0, 1.0), "train": (0.05, 0.75), "evaluat": (0.75, 1.0)}
        low, high = next((span for word, span in words.items() if self.phase.startswith(word)), (0.0, 0.0))
        return 1.0 if self.ended else low + (high - low) * inside


class Display:
    """The jobs of a sweep: `start`, `update`, `end`, in any order; use it as a context.

    On a terminal it draws a line for each running job and an overall bar with the time left. Otherwise it
    prints a line when a phase changes and every 10 s, of WIDTH columns at most.

    `names` says what a job is called on the screen (else by its own name without the hash at its end), and
    `result` what a finished one came to.
    """

    def __init__(
        self,
        costs: dict[str, float],
        *,
        names: Mapping[str, str] | None = None,
        result: Callable[[str], str] = lambda job: "",
        stream: TextIO | None = None,
        live: bool | None = None,
    ):
        self.names, self.result = dict(names or {}), result
        self.stream = stream or sys.stderr
        self.is_live = self.stream.isatty() if live is None else live
        self.costs = costs
        self.lines: dict[str, Line] = {}
        self.waiting = set(costs)
        self.began = time.monotonic()
        self.printed: dict[str, tuple[str, float]] = {}
        self.live: Live | None = None

    def __enter__(self) -> Display:
        if self.is_live:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self.stream, force_terminal=True)
            self.live = Live(get_renderable=self.render, console=console, refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.stop()

    def name(self, job: str) -> str:
        """What a job is called on the screen."""
        return self.names.get(job) or _HASH.sub("", job)

    def expect(self, costs: dict[str, float]) -> None:
        """More jobs, before they start."""
        self.costs |= costs
        self.waiting |= set(costs)

    def start(self, job: str) -> None:
        self.waiting.discard(job)
        self.lines[job] = Line(cost=self.costs.get(job, 1.0))

    def update(self, job: str, phase: str, done: int, total: int, note: str = "") -> None:
        line = self.lines.setdefault(job, Line(cost=self.costs.get(job, 1.0)))
        if len(self.costs) == 1 and line.phase.startswith("pretrain") and not phase.startswith("pretrain"):
            self.began = time.monotonic()  # a run that made its base first: the time left is the run's own
        line.phase, line.done, line.total, line.note = _HASH.sub("", phase), done, total, note
        if phase in ENDINGS:
            return  # `end` says it, with the time it took
        if not self.is_live:
            self._plain(job, line)

    def end(self, job: str, outcome: str, note: str = "") -> None:
        self.waiting.discard(job)
        line = self.lines.setdefault(job, Line(cost=self.costs.get(job, 1.0)))
        line.ended, line.phase = True, outcome
        took = duration(time.monotonic() - line.started)
        if outcome == "finished":
            outcome, note = f"finished in {took}", note or self.result(job)
        self.say(f"{self.name(job)}  {outcome}{_after(note)}")

    def say(self, text: str) -> None:
        """Print a line above the live ones. It may quote records or errors: see `visible`."""
        text = visible(text)
        try:
            if self.live:
                self.live.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self.stream, flush=True)
        except OSError:  # `2>&1 | head`, or a terminal that is gone: the runs go on without a word
            self._hear_nothing()

    def _hear_nothing(self) -> None:
        """Lead what this process prints to nowhere, once nobody reads it."""
        null = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(null, self.stream.fileno())
        os.close(null)

    def reporter(self, job: str) -> Reporter:
        def report(phase: str, done: int, total: int, note: str = "") -> None:
            self.update(job, phase, done, total, note)

        return report

    def fraction(self) -> float:
        """Share of all jobs that is done, by expected cost."""
        total = sum(line.cost for line in self.lines.values())
        total += sum(self.costs[job] for job in self.waiting)
        return sum(line.cost * line.fraction for line in self.lines.values()) / total if total else 1.0

    def time_left(self) -> str:
        fraction, elapsed = self.fraction(), time.monotonic() - self.began
        return f"about {duration(elapsed / fraction - elapsed)} left" if fraction > 0.02 else "time left: …"

    def _ended(self) -> str:
        ended = sum(line.ended for line in self.lines.values())
        number = len(self.lines) + len(self.waiting)
        return f"{ended}/{number} done, {self.time_left()}" if number > 1 else self.time_left()

    def _plain(self, job: str, line: Line) -> None:
        now = time.monotonic()
        phase, last = self.printed.get(job, ("", 0.0))
        if phase == line.phase and now - last < PLAIN_EVERY:
            return
        self.printed[job] = (line.phase, now)
        count = f" {line.done}/{line.total}" if line.total > 1 else ""
        end = f"  [{self._ended()}]"
        self.say(
            _cut(f"{_cut(self.name(job), 40)}  {line.phase}{count}{_after(line.note)}", WIDTH - len(end))
            + end
        )

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        rows, whole = Table.grid(padding=(0, 1)), Table.grid(padding=(0, 1))
        for can_shrink in (False, False, False, False, True):  # the note alone
            rows.add_column(no_wrap=not can_shrink)
        for job, line in self.lines.items():
            if line.ended:
                continue
            bar = ProgressBar(total=max(line.total, 1), completed=line.done, width=6, pulse=not line.total)
            count = f"{line.done}/{line.total}" if line.total > 1 else ""
            note = Text(visible(line.note), style="dim", no_wrap=True, overflow="ellipsis")
            rows.add_row(Text(_cut(self.name(job), 30)), Text(_cut(line.phase, 20)), bar, Text(count), note)
        overall = ProgressBar(total=1.0, completed=self.fraction(), width=20)
        whole.add_row(Text("all", style="bold"), overall, Text(self._ended()))
        return Group(rows, whole)


def duration(seconds: float) -> str:
    """3725 -> 1h02m, 125 -> 2m05s, 9 -> 9s."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def _cut(text: str, width: int) -> str:
    """The text, or as much of it as fits with an ellipsis; 20 columns at least."""
    width = max(20, width)
    return text if len(text) <= width else text[: width - 1] + "…"


def _after(note: str) -> str:
    return f": {note}" if note else ""


@contextlib.contextmanager
def quiet(*loggers: str, bars: bool = False) -> Iterator[None]:
    """Silence warnings of these loggers, and unless `bars` all of stderr; errors still raise."""
    named = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in named]
    for logger in named:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.nullcontext() if bars else contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(named, levels, strict=True):
            logger.setLevel(level)


def nobody_reads() -> int:
    """End without a word, also at the interpreter's exit, where `| head` reads no more."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            os.dup2(null, stream.fileno())
    os.close(null)
    return NOBODY_READS
