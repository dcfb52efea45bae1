"""Render chat templates as transformers 5 does, in a sandbox whose loops and calls end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sized
from datetime import date
from functools import lru_cache
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateRuntimeError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_DATE = date(2024, 7, 26)  # what a template that asks for the day gets: a prompt is the same on any day
_SECONDS = 2.0  # of this thread's processor time; a chat takes milliseconds
_LARGEST = 1_000_000  # elements of a repeated text or list, bits of a power


class _Generation(Extension):
    """`{% generation %}` … `{% endgeneration %}` around what the assistant says: rendered as it stands."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Callable[[], str]) -> str:
        return caller()


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox that looks at the clock in every call and turn of a loop, and bounds what is repeated."""

    intercepted_binops = frozenset({"*", "**"})
    deadline = math.inf

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            turn = nodes.Call(nodes.Name("within_time", "load"), [], [], None, None)
            loop.body.insert(0, nodes.ExprStmt(turn))
            loop.test = loop.test and nodes.And(turn, loop.test)
            loop.set_lineno(loop.lineno, override=True)
        return tree

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if time.thread_time() > self.deadline:
            raise TemplateRuntimeError(f"it takes more than {_SECONDS:g} s")
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            large = isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _LARGEST
        else:
            sizes = [len(x) if isinstance(x, Sized) else x for x in (left, right)]
            large = (isinstance(left, Sized) or isinstance(right, Sized)) and math.prod(sizes) > _LARGEST
        if large:
            raise SecurityError(f"the result of {operator} is too large")
        return super().call_binop(context, operator, left, right)


def render(source: str, messages: list[dict[str, str]], *, open_turn: bool, names: dict[str, str]) -> str:
    """The text of a chat, with the assistant's turn opened or not; `names` are the special tokens.

    Raises ValueError for a template that cannot be rendered, refuses the chat, or does not end.
    """
    try:
        template = _compiled(source)
        environment: Any = template.environment
        environment.deadline = time.thread_time() + _SECONDS
        chat = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": open_turn}
        return str(template.render(**names | chat))
    except Exception as error:  # the model's text, which may do anything
        raise ValueError(
            f"the model's chat template fails ({type(error).__name__}: {error}); "
            "use boxed_answer or r1_zero, or mend the template"
        ) from error


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    """A template with the extensions, the filter and the functions that templates of the hub use."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def as_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = as_json
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": _DATE.strftime,
        "within_time": lambda: True,
    }
    return environment.from_string(source)
