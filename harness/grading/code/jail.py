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

import ast
import builtins
import os
import random
import select
import signal
import struct
import sys
import sysconfig
import time
from collections.abc import Callable
from typing import Any

from harness.grading.code import confine
from harness.grading.code.values import NotData, decode, encode

MEMORY = 512 << 20  # bytes of address space
CPU_SECONDS = 2  # of a program from its start to its end
WALL_SECONDS = 5.0  # for one answer
ALL_SECONDS = 15.0  # for all tests of a program
MAX_LINE = 1 << 20  # bytes of one answer
PIPE_BYTES = 4096  # so many never block where a pipe can be written
MAX_STARTS = 2  # a program that has died so often is not started again
READY, LOST = b"ready\n", b"gone"
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


class _Ended(Exception):
    """The other side of a pipe is gone, or its line is too long or too late."""


def read_exactly(descriptor: int, size: int) -> bytes:
    """Read `size` bytes. Raises EOFError where the other side ends before."""
    found = bytearray()
    while len(found) < size:
        part = os.read(descriptor, size - len(found))
        if not part:
            raise EOFError
        found += part
    return bytes(found)


def read_frame(descriptor: int) -> bytes:
    """Read what `frame` made."""
    (size,) = struct.unpack("!I", read_exactly(descriptor, 4))
    return read_exactly(descriptor, size)


def frame(content: bytes) -> bytes:
    """The content after its length."""
    return struct.pack("!I", len(content)) + content


def write_all(descriptor: int, content: bytes, until: float | None = None) -> None:
    """Write all of it. Raises OSError where the other side is gone, or does not read until then."""
    view = memoryview(content)
    while view:
        if (
            until is not None
            and not select.select([], [descriptor], [], max(0.0, until - time.monotonic()))[1]
        ):
            raise TimeoutError
        view = view[os.write(descriptor, view[:PIPE_BYTES]) :]


class _Lines:
    """Lines read from a pipe, with a limit of size and a time until which to wait."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.rest = descriptor, b""

    def next(self, until: float | None = None) -> bytes:
        """The next line. Raises _Ended."""
        while b"\n" not in self.rest:
            if until is not None:
                ready, _, _ = select.select([self.descriptor], [], [], max(0.0, until - time.monotonic()))
                if not ready:
                    raise _Ended("time")
            part = os.read(self.descriptor, 1 << 16)
            if not part or len(self.rest) > MAX_LINE:
                raise _Ended("end")
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        return line


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
    return child, _Lines(ours_in), ours_out


def _watch(null: int) -> None:
    """Answer one request: the judge reads the tests by itself, the program is read here."""
    judge, lines, to_judge = _piped(os.fork, _judge, null, kept=0)
    lines.next()  # it has read the tests
    program = _Program(read_frame(0), null)
    until = time.monotonic() + ALL_SECONDS
    verdict = b'{"list": []}'
    try:
        while (line := lines.next(until + 1)).startswith(b"?"):
            write_all(to_judge, program.answer(line[1:], until) + b"\n")
        verdict = line
    except (_Ended, OSError):
        pass
    program.end()
    os.kill(judge, signal.SIGKILL)
    os.waitpid(judge, 0)
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
        except (_Ended, OSError):
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
            raise _Ended("died too often")
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
    lines = _Lines(given)
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


def _judge(given: int, taken: int) -> None:
    """The tests' process: run each with the program's functions in place of the names it does not define."""
    request = decode(read_frame(0))
    os.close(0)
    write_all(taken, b"read\n")
    confine.lock(memory=MEMORY, cpu_seconds=2 * int(ALL_SECONDS))
    lines = _Lines(given)

    def ask(name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        write_all(taken, b"?" + encode([name, args, keywords]).encode() + b"\n")
        line = lines.next()
        if line == LOST:
            raise RuntimeError("the program is gone")
        try:
            kind, said = decode(line)
        except (NotData, ValueError, TypeError):
            raise RuntimeError("no answer") from None
        if kind == "value":
            return said
        raise _named(said)

    found = [judged(test, request["setup"], request["entry_point"], ask) for test in request["tests"]]
    write_all(taken, encode(found).encode() + b"\n")


def judged(test: str, setup: str, entry_point: str, ask: Callable[..., Any]) -> str:
    """`passed` where the test raises nothing; else the name of what it raised.

    `setup` runs before it. `entry_point`, and each name that neither defines, asks the program.
    """
    space: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(compile(setup, "<setup>", "exec", dont_inherit=True), space)
        for name in {entry_point, *unknown_names(test, space)}:
            space[name] = lambda *args, _name=name, **keywords: ask(_name, args, keywords)
        exec(compile(test, "<test>", "exec", dont_inherit=True), space)
    except BaseException as error:
        return type(error).__name__
    return "passed"


def unknown_names(test: str, space: dict[str, Any]) -> set[str]:
    """Names that a test reads and that nothing but a program can define."""
    names = [node for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(ast.parse(test)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
    return read - bound - set(space) - set(dir(builtins))


def _named(name: Any) -> Exception:
    """An exception of the built-in class of that name; of any other name a RuntimeError."""
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind("in the program")
        except TypeError:  # UnicodeDecodeError takes five
            pass
    return RuntimeError("in the program")


if __name__ == "__main__":
    serve()
