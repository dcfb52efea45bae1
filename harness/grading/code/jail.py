"""The process in which programs are run: a server that never sees one, and three kinds of children for each.

    harness --- server -+- watcher -+- judge      the tests: calls the program's functions by name, compares
       (pipes)          |           +- program    what a model wrote: gets arguments, gives values
                        +- (the next watcher, when this one has answered)

The program's process never holds a test, an expected value or a verdict: it is asked for `f(3)` and answers
with plain data (`values.py`), which the judge compares in a process where no code of the program has run. The
watcher passes lines between the two, and kills a program that takes too long. Judge and program are locked
(`confine.lock`), and the program is alone in a process namespace. Nothing here imports more than the standard
library.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import sysconfig
import time
from collections.abc import Callable
from typing import Any

from harness.grading.code import confine
from harness.grading.code.judge import judge
from harness.grading.code.limits import ALL_SECONDS, CPU_SECONDS, MAX_STARTS, MEMORY, WALL_SECONDS
from harness.grading.code.pipes import LOST, READY, Ended, Lines, read_frame, write_all
from harness.grading.code.values import decode, encode

# What programs often import; loaded once, before there is no disk.
_COMMON = (
    *("array", "bisect", "calendar", "cmath", "collections", "copy", "datetime", "decimal", "fractions"),
    *(
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "json",
        "math",
        "numbers",
        "operator",
        "re",
        "statistics",
    ),
    *("string", "textwrap", "typing", "dataclasses", "enum", "abc", "queue", "unicodedata"),
)


def serve() -> None:
    """Confine this process, then answer requests on stdin until it ends. Prints `ready`, or why not."""
    library = sysconfig.get_path("stdlib")
    for name in _COMMON:
        __import__(name)
    sys.path[:] = [library, f"{library}/lib-dynload"]
    os.environ.clear()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        confine.filter_of_calls()
        confine.enter(os.path.realpath(library))
    except confine.Refused as error:
        write_all(1, f"refused: {error}\n".encode())
        return
    if server := os.fork():  # the first process of its namespace: with it dies all that it has started
        os.waitpid(server, 0)
        return
    confine.end_with_parent()
    try:
        _try_out()
    except confine.Refused as error:
        write_all(1, f"refused: {error}\n".encode())
        return
    write_all(1, READY)
    while select.select([0], [], []):
        if not (watcher := os.fork()):
            _ends_with(_watch, null)
        if os.waitpid(watcher, 0)[1]:
            return


def _try_out() -> None:
    """Take all steps of a program once. Raises Refused."""
    child = os.fork()
    if not child:
        _ends_with(_locked_apart)
    if os.waitpid(child, 0)[1]:
        raise confine.Refused("process namespaces or seccomp filters are not allowed here")


def _locked_apart() -> None:
    child = confine.fork_apart()
    if not child:
        _ends_with(lambda: confine.lock(memory=MEMORY, cpu_seconds=CPU_SECONDS))
    assert os.waitpid(child, 0)[1] == 0


def _ends_with(work: Callable[..., None], *args: Any) -> None:
    """Do a child's work and end it, whatever happens."""
    code = 1
    try:
        work(*args)
        code = 0
    finally:
        os._exit(code)


def _piped(start: Callable[[], int], work: Callable[[int, int], None], null: int, *, kept: int) -> Any:
    """Start a child that does `work(input, output)`; gives its id, its lines and where to write.

    It inherits its two pipes, and `kept` as its stdin.
    """
    (child_in, ours_out), (ours_in, child_out) = os.pipe(), os.pipe()
    child = start()
    if not child:
        os.dup2(child_in, 10)
        os.dup2(child_out, 11)
        os.dup2(kept, 0)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.closerange(3, 10)
        os.closerange(12, 4096)
        _ends_with(work, 10, 11)
    os.close(child_in)
    os.close(child_out)
    return child, Lines(ours_in), ours_out


def _watch(null: int) -> None:
    """Answer one request: the judge reads the tests by itself, the program is read here."""
    judging, lines, to_judge = _piped(os.fork, judge, null, kept=0)
    lines.next()  # it has read the tests
    program = _Program(read_frame(0), null)
    until = time.monotonic() + ALL_SECONDS
    verdict = b'{"list": []}'
    try:
        while (line := lines.next(until + 1)).startswith(b"?"):
            write_all(to_judge, program.answer(line[1:], until) + b"\n")
        verdict = line
    except (Ended, OSError):
        pass
    program.end()
    os.kill(judging, signal.SIGKILL)
    os.waitpid(judging, 0)
    write_all(1, verdict + b"\n")


class _Program:
    """The program's process: started when it is first asked, and again after it has died."""

    def __init__(self, source: bytes, null: int) -> None:
        self.source, self.null, self.starts = source, null, 0
        self.child = 0

    def answer(self, question: bytes, until: float) -> bytes:
        """The program's answer to a question, or `gone` if it ends, writes too much or takes too long."""
        until = min(until, time.monotonic() + WALL_SECONDS)
        try:
            if not self.child:
                self._start()
            write_all(self.out, question + b"\n", until)
            return self.lines.next(until)
        except (Ended, OSError):
            self.end()
            return LOST

    def end(self) -> None:
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            os.close(self.out)
            os.close(self.lines.descriptor)
            self.child = 0

    def _start(self) -> None:
        if self.starts == MAX_STARTS:
            raise Ended("died too often")
        self.starts += 1
        work = lambda given, taken: _run(self.source, given, taken)  # noqa: E731
        self.child, self.lines, self.out = _piped(confine.fork_apart, work, self.null, kept=self.null)


def _run(source: bytes, given: int, taken: int) -> None:
    """The program's process: define what it defines, then answer calls. Nothing said here is believed."""
    confine.lock(memory=MEMORY, cpu_seconds=CPU_SECONDS)
    random.seed(0)
    fault = ""
    space: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(source, "<program>", "exec", dont_inherit=True), space)
    except BaseException as error:
        fault = type(error).__name__
    lines = Lines(given)
    while True:
        name, args, keywords = decode(lines.next())
        try:
            if fault and name not in space:
                raise NameError(fault)
            said = ["value", space[name](*args, **keywords)]
        except BaseException as error:
            said = ["error", type(error).__name__]
        try:
            line = encode(said)
        except BaseException:
            line = encode(["error", "NotData"])
        write_all(taken, line.encode() + b"\n")


if __name__ == "__main__":
    serve()
