"""Plain data goes both ways unchanged; nothing else goes at all."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.grading.code.values import NotData, decode, encode

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
)
KEYS = st.one_of(SCALARS, st.tuples(SCALARS), st.frozensets(st.integers()))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner),
        st.sets(KEYS),
        st.frozensets(KEYS),
    ),
)


@given(VALUES)
def test_plain_data_comes_back_with_its_types(value: object) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple)


def test_types_that_are_equal_stay_apart() -> None:
    for value in (True, 1, 1.0, (1,), [1], {1}, frozenset({1}), {1: 1}, "1", b"1", 0.0, -0.0):
        assert repr(decode(encode(value))) == repr(value)


def test_large_integers_and_odd_floats() -> None:
    for value in (10**5000, -(10**5000), 1 << 13_000, -(1 << 13_000), (1 << 13_000) - 1):
        assert decode(encode(value)) == value
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode([math.inf, -math.inf])) == [math.inf, -math.inf]
    assert decode(encode("\ud800")) == "\ud800"


def test_subclasses_go_as_what_they_derive_from() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    pair = namedtuple("pair", "a b")
    assert decode(encode(Liar(3))) == 3
    assert type(decode(encode(Liar(3)))) is int
    assert decode(encode(Liar(3))) != 4
    assert decode(encode(pair(1, 2))) == (1, 2)
    assert decode(encode(Counter("aab"))) == {"a": 2, "b": 1}
    assert type(decode(encode(OrderedDict(a=1)))) is dict


@pytest.mark.parametrize("value", [object(), len, range(3), iter([]), type, NotImplemented, ..., [object()]])
def test_what_is_no_data_is_refused(value: object) -> None:
    with pytest.raises(NotData):
        encode(value)


def test_loops_and_depth_are_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(NotData):
            encode(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "nothing", "[1]", "{}", '{"list": 1}', '{"list": [1], "set": [2]}', '{"other": []}', "\xff"),
        *('{"set": [{"list": []}]}', '{"dict": [[1]]}', '{"dict": [[{"list": []}, 1]]}', '{"int": "zz"}'),
        *('{"bytes": "0"}', '{"complex": [1]}', '{"complex": ["a", "b"]}', '{"int": 3}', "9" * 5000),
        "[" * 100_000,
        '{"list": [' * 50_000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(NotData):
        decode(text)
    with pytest.raises(NotData):
        decode(text.encode("latin-1"))


def test_nothing_of_json_reaches_a_caller_untagged() -> None:
    """A JSON list or object stands for no value by itself."""
    for tree in ([], [1, 2], {"a": 1}):
        with pytest.raises(NotData):
            decode(json.dumps(tree))
