"""Chat templates end: in time, whatever their loops and calls, and without a text that fills the memory."""

from __future__ import annotations

import time

import pytest

from harness.model.files.chat import render

HI = [{"role": "user", "content": "hi"}]
LONG = "range(99999)"


def shown(source: str) -> str:
    return render(source, HI, open_turn=True, names={"bos_token": "<s>"})


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "source",
    [
        f"{{% for a in {LONG} %}}{{% for b in {LONG} %}}{{% endfor %}}{{% endfor %}}",
        f"{{% for a in {LONG} %}}{{% for b in {LONG} if false %}}{{% endfor %}}{{% endfor %}}",
        f"{{% for a in {LONG} %}}{{% set x = {LONG} | list | reverse | list | length %}}{{% endfor %}}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    ],
)
def test_a_template_that_does_not_end_is_stopped(source: str) -> None:
    started = time.thread_time()
    with pytest.raises(
        ValueError, match=r"chat template fails \(TemplateRuntimeError: it takes more than 2 s\)"
    ):
        shown(source)
    assert time.thread_time() - started < 4
    assert shown("{{ bos_token }}{{ messages[0].content }}") == "<s>hi"  # the next has its own time


@pytest.mark.parametrize(
    "source",
    ["{{ 'a' * 10**9 }}", "{{ 3 * [1] * 10**9 }}", "{{ 10 ** (10 ** 9) }}", "{{ (2 ** 999999) ** 999 }}"],
)
def test_what_is_repeated_is_bounded(source: str) -> None:
    with pytest.raises(ValueError, match=r"SecurityError: the result of \*+ is too large"):
        shown(source)


def test_loops_are_what_they_were() -> None:
    assert shown("{% for a in range(3) %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% endfor %}") == (
        "1False32False33True3"
    )
    assert shown("{% for a in range(9) if a % 4 == 0 %}{{ a }}{{ loop.length }}{% endfor %}") == "034383"
    assert shown("{% for a in [] %}{% else %}none{% endfor %}{{ '-' * 3 }}{{ 2 ** 3 * 2 }}") == "none---16"
