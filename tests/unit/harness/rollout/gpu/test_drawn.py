"""The check of two runs of one request: what it lets pass, and what it does not. Worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.shapes import model_dims
from tests.unit.harness.rollout.gpu import drawn
from tests.unit.harness.rollout.gpu.drawn import Row

SHARES = (0.1, 0.2, 0.3, 0.4)  # of four tokens, whose parts of [0, 1) end at 0.1, 0.3, 0.6 and 1
BOUND = 4 * 2.0**-23  # 4.8e-7


class Constant:
    """A model that gives four tokens SHARES, whatever came before."""

    dims = model_dims(vocab_size=4)

    def hidden(self, rows: Any) -> Tensor:
        return torch.zeros(len(rows.tokens), 1, dtype=torch.float64)

    def logits(self, states: Tensor) -> Tensor:
        return torch.tensor(SHARES, dtype=torch.float64).log().expand(len(states), 4)


def row(*tokens: int) -> Row:
    return Row((1, 2, 3), 7, tokens, tuple(float(np.log(SHARES[token])) for token in tokens))


def parts(monkeypatch: pytest.MonkeyPatch, a: Row, b: Row, numbers: tuple[float, ...]) -> bool:
    monkeypatch.setattr(drawn, "uniforms", lambda seed, count: np.array(numbers[:count], dtype=np.float64))
    return drawn.part(Constant(), a, b, 1.0)


def test_runs_part_at_the_edge_of_neighbours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = (0.05, 0.6 + 0.5 * BOUND, 0.2)  # the second number lies on the edge between tokens 2 and 3
    assert not parts(monkeypatch, row(0, 3, 1), row(0, 3, 1), edge)
    assert parts(monkeypatch, row(0, 3, 1), row(0, 2, 1), edge)
    assert parts(monkeypatch, row(0, 2, 1), row(0, 3), edge)  # they may end apart, once they have parted
    for wrong, numbers in (
        (row(0, 2, 1), (0.05, 0.6 + 1.5 * BOUND, 0.2)),  # not on the edge
        (row(0, 1, 1), edge),  # a token too far
        (row(0, 3), edge),  # ended too early
        (row(0, 2, 2), edge),  # a wrong token after they have parted
    ):
        with pytest.raises(AssertionError):
            parts(monkeypatch, row(0, 3, 1), wrong, numbers)


def test_a_token_next_to_the_right_one_is_wrong_though_both_runs_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AssertionError):
        parts(monkeypatch, row(0, 2), row(0, 2), (0.05, 0.7))
    numbers = (0.1 - BOUND / 2, 0.6 - BOUND / 2)  # of tokens 0 and 2, seldom both on an edge
    assert not parts(monkeypatch, row(0, 3), row(0, 3), numbers)
    with pytest.raises(AssertionError):
        parts(monkeypatch, row(1, 3), row(1, 3), numbers)


def test_a_logprob_of_another_context_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a wrong page gives: the token is the same, its logprob 0.001 off."""
    found = row(0, 3)
    off = found._replace(logprobs=(found.logprobs[0], found.logprobs[1] - 1e-3))
    assert not parts(monkeypatch, found, found, (0.05, 0.7))
    with pytest.raises(AssertionError):
        parts(monkeypatch, found, off, (0.05, 0.7))
