"""`varlen`, the attention of verl's models without flash-attn: packed rows do not see each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from harness.training.verl import attention
from tests.unit.harness.model.test_rows import by_segment

ROWS = [torch.tensor([5, 9, 7, 3]), torch.tensor([8, 2]), torch.tensor([4, 4, 6])]
POSITIONS = torch.cat([torch.arange(len(row)) for row in ROWS])[None]


def model(name: str) -> Any:
    """A small model with grouped queries and an attention of this name; all have the same weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=13,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation=name, dtype=torch.float32)


def gradients(of: Any, logits: Tensor) -> list[Tensor]:
    of.zero_grad()
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    (logits * weights).sum().backward()
    return [p.grad.clone() for p in of.parameters() if p.grad is not None]


@pytest.mark.parametrize("kernel", [False, True])
def test_a_packed_row_is_the_row_alone(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and gradients of transformers' model, grouped queries; `kernel` takes a GPU's way."""
    if kernel:
        monkeypatch.setattr(attention, "pads", lambda *_: False)
        monkeypatch.setattr(attention, "flash", by_segment)
    packed, plain = model("varlen"), model("sdpa")
    found = packed(
        input_ids=torch.cat(ROWS)[None], attention_mask=None, position_ids=POSITIONS, use_cache=False
    ).logits[0]
    alone = torch.cat([plain(input_ids=row[None], use_cache=False).logits[0] for row in ROWS])
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
    for x, y in zip(gradients(packed, found), gradients(plain, alone), strict=True):
        assert float((x - y).norm()) <= 1e-5 * float(y.norm())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position_ids": None}, "packed rows"),
        ({"query": torch.zeros(2, 2, 9, 4)}, "packed rows"),
        ({"key": torch.zeros(1, 1, 12, 4)}, "packed rows"),
        ({"attention_mask": torch.zeros(1, 1, 9, 9)}, "no mask"),
        ({"dropout": 0.1}, "dropout"),
        ({"sliding_window": 4}, "sliding window"),
    ],
)
def test_what_it_would_leave_out_is_refused(change: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "query": torch.zeros(1, 2, 9, 4),
        "key": torch.zeros(1, 1, 9, 4),
        "value": torch.zeros(1, 1, 9, 4),
        "attention_mask": None,
        "position_ids": POSITIONS,
    }
    with pytest.raises(ValueError, match=said):
        attention.attend(None, **(given | change))
