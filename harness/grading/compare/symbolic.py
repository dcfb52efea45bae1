"""Symbolic comparison of two answers by math-verify, in worker processes that can be killed.

math-verify hands fragments to sympy, whose parser evaluates and whose arithmetic has no bound
(`9^{9^{9^{9}}}`). So text is vetted against an allow-list, then compared in a process of its own under limits
on wall time, CPU (RLIMIT_CPU) and memory (RLIMIT_AS). No signal handler and no thread is used here; the
worker gets no environment beyond what Python needs. Neither sympy nor math-verify is imported here.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.grading.compare.quantities import is_unit

MAX_LATEX_CHARS = 300
MAX_DEPTH = 8
EXACT = 12  # decimals; math-verify's default of 6 takes 1.414214 for the root of 2
_WORKER = Path(__file__).with_name("symbolic_worker.py")
_COMMANDS = frozenset(
    re.findall(
        r"\w+",
        """frac sqrt pi cdot times div pm mp infty cup cap in notin le leq ge geq lt gt ne neq sin cos tan cot
        sec csc arcsin arccos arctan log ln exp binom dbinom tbinom begin end alpha beta gamma delta epsilon
        theta lambda mu phi varphi omega rho sigma tau overline lfloor rfloor lceil rceil mathbb emptyset
        varnothing setminus pmod bmod mod quad""",
    )
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{(?:[pbvBV]?matrix|cases|array)\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)|\\([{}\\|])")
_PLAIN_DECIMAL = re.compile(r"-?\d{0,40}\.\d{1,38}")
_PLAIN = re.compile(r"[0-9A-Za-z\s+\-*/^_=<>()\[\]{}|,.:;!&']*")
_TEXT_SEPARATOR = re.compile(
    r",?\s*\\(?:text|mbox|mathrm)\s*\{\s*,?\s*(?:or|and)\s*\}|,?\s*(?<![A-Za-z\\])(?:or|and)(?![A-Za-z])"
)
_TRAILING_TEXT = re.compile(r"\s*\\(?:text|mbox|mathrm)\s*\{[^{}]*\}(?:\^\{?[23]\}?)?\s*$")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one comparison may use: 2 to 3 s of CPU (the kernel counts seconds), which decides as a rule.

    The wall limit is the one that nothing passes; it is longer so that a busy machine does not change grades.
    A grade makes one comparison, or one more for each side of a chain of equations until one fails.
    """

    wall_s: float = 8.0
    cpu_s: float = 2.0
    memory_mib: int = 1024
    startup_s: float = 120.0
    max_workers: int = 2


def to_latex(text: str) -> str:
    """Plain-text maths as LaTeX (`sqrt(2)*pi` -> `\\sqrt{2}\\cdot \\pi`), `or` as a comma, a unit dropped."""
    out = _TEXT_SEPARATOR.sub(",", text)
    if (trailing := _TRAILING_TEXT.search(out)) and is_unit(trailing[0]):
        out = out[: trailing.start()]
    out = re.sub(r"(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", out)
    out = re.sub(r"(?<![A-Za-z\\])[Ii]nfinity(?![A-Za-z])", r"\\infty", out)
    out = re.sub(r"(?<![A-Za-z\\])(pi|infty|sqrt|sin|cos|tan|log|ln)(?![A-Za-z])", r"\\\1", out)
    return out.replace("**", "^").replace("*", "\\cdot ").strip()


def as_fraction(text: str) -> str:
    r"""A plain decimal as `\frac{n}{d}`, which math-verify does not round; other text as it is."""
    if not _PLAIN_DECIMAL.fullmatch(text):
        return text
    value = Fraction(text)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def screen(latex: str) -> str | None:
    """Why `latex` may not reach the parser, or None if it may."""
    if len(latex) > MAX_LATEX_CHARS:
        return f"more than {MAX_LATEX_CHARS} characters"
    if unknown := {m[1] for m in _COMMAND.finditer(latex) if m[1] and m[1] not in _COMMANDS}:
        return f"command not on the allow-list: {min(unknown)[:30]!r}"
    bare = _COMMAND.sub(" ", _ENVIRONMENT.sub(" ", latex))
    if not _PLAIN.fullmatch(bare):
        return "character not on the allow-list"
    if "__" in bare or re.search(r"\.\s*[A-Za-z_]", bare) or re.search(r"\d{41}", bare):
        return "attribute, double underscore or a number of more than 40 digits"
    if re.search(r"[A-Za-z]{4}", bare) or not re.search(r"\w", latex):
        return "prose, not mathematics"
    depth = 0
    for char in bare:
        depth += (char in "{([") - (char in "})]")
        if depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH}"
    return None


@lru_cache(maxsize=8192)
def compare(gold: str, pred: str, *, gold_is_number: bool = False, decimals: int = EXACT) -> tuple[bool, str]:
    """Whether math-verify finds the normalised answers equal (gold first), and the reason.

    Where one has a decimal point, both are rounded to `decimals` places.
    A refused text, an error and a killed worker count as unequal. Raises RuntimeError if no worker starts.
    """
    if decimals == EXACT:  # a decimal is exactly what it says: 1.41421356237 is not the root of 2
        gold, pred = as_fraction(gold), as_fraction(pred)
    latex_gold, latex_pred = to_latex(gold), to_latex(pred)
    if refused := screen(latex_gold) or screen(latex_pred):
        return False, f"different text ({refused})"
    if differing := _mistakable(latex_gold, latex_pred, gold_is_number):
        return False, f"different text ({differing})"
    reply = _pool.ask({"gold": latex_gold, "pred": latex_pred, "decimals": decimals})
    if reply["error"]:
        return False, f"math-verify: {reply['error']}"
    return reply["equal"], "equal by math-verify" if reply["equal"] else "different by math-verify"


def _mistakable(gold: str, pred: str, gold_is_number: bool) -> str | None:
    """What tells two texts apart that math-verify may take for equal, or None."""
    letters, gold_letters = (re.sub(r"\\[A-Za-z]+", "", latex) for latex in (pred, gold))
    cased = [{c for c in said if c.islower() and c.upper() in said} for said in (letters, gold_letters)]
    if cased[0] != cased[1]:  # math-verify takes X for x
        return "capital and small letters"
    if gold_is_number and "=" not in pred and re.search(r"[A-Za-df-hj-z]", letters):
        return "variables in the answer, a number in the reference"
    if (r"\infty" in pred) != (r"\infty" in gold) and "," not in gold + pred:
        return "infinity in one"
    return None


def worker_stats() -> dict[str, int]:
    """Counts in this process: asked, started, error, and workers lost to wall, cpu, memory or death."""
    return dict(_pool.stats)


class Worker:
    """One child process: started, asked, killed."""

    def __init__(self, limits: Limits) -> None:
        """Start the process; `ask` waits until it is ready."""
        kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH", "SYSTEMROOT") if key in os.environ}
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self.limits = limits
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), str(limits.cpu_s), str(limits.memory_mib)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **kept,
                "PYTHONPATH": path,
                "LANG": "C.UTF-8",
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": "1",
            },
            cwd="/",
            start_new_session=True,
        )
        self.ready = False
        self.timed_out = False
        self._buffer = b""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's reply, or {"error": "startup" | "wall" | "cpu" | "died"} and the worker is dead."""
        assert self.process.stdin is not None
        if not self.ready:
            self.ready = self._read_line(self.limits.startup_s) is not None
            if not self.ready:
                return self._lost("startup")
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._lost("died")
        line = self._read_line(self.limits.wall_s)
        return json.loads(line) if line is not None else self._lost("died")

    def _read_line(self, timeout_s: float) -> bytes | None:
        """A line, or None at the end of the stream or after `timeout_s`, when the process is killed."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self.process.kill()
                self.timed_out = True
                return None
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _lost(self, reason: str) -> dict[str, Any]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)  # its exit status says which limit it met
        self.kill()
        if reason == "died" and self.timed_out:
            reason = "wall"
        elif reason == "died" and self.process.returncode == -signal.SIGXCPU:
            reason = "cpu"
        return {"equal": False, "error": reason, "latex": [], "evaluated": []}

    def kill(self) -> None:
        """End the process, reap it and close the pipes."""
        self.process.kill()
        self.process.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close our ends of the pipes and leave the process alone (after a fork it is the parent's)."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Pool:
    """Up to `limits.max_workers` workers, started when first needed and replaced when lost."""

    def __init__(self, limits: Limits) -> None:
        """Start nothing yet."""
        self.limits = limits
        self.stats: Counter[str] = Counter()
        self._free = threading.Condition()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Compare in a free worker. Raises RuntimeError if a worker cannot start, twice in a row."""
        for _ in range(2):
            worker = self._take()
            self.stats["asked"] += 1
            try:
                reply = worker.ask(request)
            except BaseException:  # Ctrl-C, a caller's alarm: a half-read worker is no use, its place is
                self._give_back(worker, alive=False)
                raise
            if reply["error"]:
                self.stats[reply["error"] if reply["error"] in _LOST else "error"] += 1
            self._give_back(worker, alive=reply["error"] not in _LOST)
            if reply["error"] != "startup":
                return reply
        raise RuntimeError(
            f"the math-verify worker does not start: `{sys.executable} -c 'import math_verify'` shows why"
        )

    def _take(self) -> Worker:
        with self._free:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.process.poll() is None:
                        return worker
                    self.stats["died"] += 1
                    self._workers.discard(worker)
                    worker.abandon()
                if len(self._workers) < self.limits.max_workers:
                    worker = Worker(self.limits)
                    self._workers.add(worker)
                    self.stats["started"] += 1
                    return worker
                self._free.wait()

    def _give_back(self, worker: Worker, *, alive: bool) -> None:
        with self._free:
            if alive:
                self._idle.append(worker)
            else:
                worker.kill()
                self._workers.discard(worker)
            self._free.notify()

    def close(self) -> None:
        """Kill every worker."""
        with self._free:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()
            self._idle.clear()

    def abandon(self) -> None:
        """Forget the parent's workers in a forked child, so that the parent alone talks to them."""
        for worker in self._workers:
            worker.abandon()
        self.__init__(self.limits)  # type: ignore[misc]  # the lock may have been held when the fork happened


_LOST = frozenset({"startup", "wall", "cpu", "memory", "died"})
_pool = Pool(Limits())
atexit.register(lambda: _pool.close())
os.register_at_fork(after_in_child=lambda: _pool.abandon())
