"""The judge's process: it holds the tests, and asks the program's process for the value of each call."""

from __future__ import annotations

import ast
import builtins
import os
from collections.abc import Callable
from typing import Any

from harness.grading.code import confine
from harness.grading.code.limits import ALL_SECONDS, MEMORY
from harness.grading.code.pipes import LOST, Lines, read_frame, write_all
from harness.grading.code.values import NotData, decode, encode


def judge(given: int, taken: int) -> None:
    """The tests' process: run each with the program's functions in place of the names it does not define."""
    request = decode(read_frame(0))
    os.close(0)
    write_all(taken, b"read\n")
    confine.lock(memory=MEMORY, cpu_seconds=2 * int(ALL_SECONDS))
    lines = Lines(given)

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
