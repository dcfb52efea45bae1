from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.objectives.reduce import Reducer, counted_rows, denominator, reduce

# Dividing inside microbatches of 1, 2 and 4 rows would give 0, -.667 and -.667 for the token mean.
LENGTHS, SIGNS = torch.tensor([1, 8, 2, 7]), torch.tensor([1.0, -1.0, 1.0, -1.0])
MASK = torch.arange(8) < LENGTHS[:, None]
LOSS = -SIGNS[:, None].expand(4, 8)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("token_mean", 12 / 18),  # (8 + 7 - 1 - 2) / 18
        ("sequence_mean", 0.0),  # (-1 + 1 - 1 + 1) / 4
        ("sequence_sum", 12 / 4),
        ("constant", 12 / (4 * 10)),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_microbatch_size_gives_the_same_number(kind: Reducer, expected: float, size: int) -> None:
    divisor = denominator(kind=kind, completion_mask=MASK, constant=10)
    total = sum(
        reduce(loss=LOSS[i : i + size], completion_mask=MASK[i : i + size], kind=kind, denominator=divisor)
        for i in range(0, 4, size)
    )
    assert float(total) == pytest.approx(expected, abs=1e-7)


KINDS: tuple[Reducer, ...] = ("token_mean", "sequence_mean", "sequence_sum", "constant")


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=8), data=st.data())
def test_any_mask_and_any_split_give_the_sum_written_out(rows: list[list[bool]], data: st.DataObject) -> None:
    """Holes, empty rows and NaN outside the mask included."""
    mask, size = torch.tensor(rows), data.draw(st.integers(1, len(rows)))
    terms = torch.arange(5.0 * len(rows), dtype=torch.float64).reshape(-1, 5) - 7
    inside = [
        [float(x) for x, m in zip(xs, ms, strict=True) if m] for xs, ms in zip(terms, rows, strict=True)
    ]
    tokens, whole = sum(map(len, inside)), sum(sum(x) for x in inside)
    by_hand = {
        "token_mean": whole / max(1, tokens),
        "sequence_mean": sum(sum(x) / max(1, len(x)) for x in inside) / len(rows),
        "sequence_sum": whole / len(rows),
        "constant": whole / (len(rows) * 10),
    }
    loss = torch.where(mask, terms, torch.nan)
    for kind in KINDS:
        divisor = denominator(kind=kind, completion_mask=mask, constant=10)
        parts = [
            reduce(loss=a, completion_mask=b, kind=kind, denominator=divisor)
            for a, b in zip(loss.split(size), mask.split(size), strict=True)
        ]
        assert float(torch.stack(parts).sum()) == pytest.approx(by_hand[kind], abs=1e-12)


def test_which_rows_are_in_the_denominator() -> None:
    advantages = torch.tensor([1.0, -1.0, 0.0, 0.5])
    masked = MASK.clone()
    masked[3] = False  # a truncated row whose tokens left the loss
    counts = {
        over: counted_rows(advantages=advantages, completion_mask=masked, over=over).tolist()
        for over in ("all", "accepted", "nonzero")
    }
    assert counts == {
        "all": [True, True, True, True],
        "accepted": [True, False, False, False],
        "nonzero": [True, True, False, False],
    }
    counted = torch.tensor([True, False, True, False])
    assert denominator(kind="token_mean", completion_mask=MASK, counted=counted) == 3.0
    assert denominator(kind="sequence_sum", completion_mask=MASK, counted=counted) == 2.0
    assert denominator(kind="constant", completion_mask=MASK, counted=counted, constant=10) == 20.0


def test_padding_and_an_empty_row_are_harmless() -> None:
    loss = torch.tensor([[1.0, float("nan")], [float("inf"), float("nan")]], requires_grad=True)
    mask = torch.tensor([[1, 0], [0, 0]])
    total = reduce(loss=loss, completion_mask=mask, kind="sequence_mean", denominator=2.0)
    total.backward()
    assert total.item() == 0.5
    assert loss.grad is not None and loss.grad.tolist() == [[0.5, 0.0], [0.0, 0.0]]


def test_no_counted_row_means_no_step() -> None:
    loss = torch.ones(1, 2, requires_grad=True)
    total = reduce(loss=loss, completion_mask=torch.ones(1, 2), kind="token_mean", denominator=0.0)
    total.backward()
    assert total.item() == 0.0
    assert loss.grad is not None and loss.grad.tolist() == [[0.0, 0.0]]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"reduce.constant: must be a positive number of tokens, got None"):
        denominator(kind="constant", completion_mask=MASK)
    with pytest.raises(ValueError, match="unknown 'mean'"):
        reduce(loss=LOSS, completion_mask=MASK, kind="mean", denominator=1.0)
    with pytest.raises(ValueError, match="unknown 'some'"):
        counted_rows(advantages=SIGNS, completion_mask=MASK, over="some")
