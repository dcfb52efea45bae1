"""How rows are packed, and that a GPU would never be waited for while a step's gradient is computed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.model import attention
from harness.model.policy import Policy, token_logprobs
from harness.model.rows import Prompts, Rows, pack_rows
from harness.training import gradient
from tests.unit.harness.model.test_policy import DIMS, random_policy
from tests.unit.harness.training.test_step_invariance import GROUPS, close, moved


def test_the_packing_by_hand() -> None:
    ids = torch.tensor([[7, 3, 4, -9, -9], [7, 3, 5, 9, 1], [8, -9, -9, -9, -9]])
    wanted = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 1, 0, 1], [1, 1, 0, 0, 0]])
    rows = pack_rows(ids, torch.tensor([3, 5, 1]), wanted)
    assert rows.shape == (3, 5)
    assert rows.tokens.tolist() == [7, 3, 4, 7, 3, 5, 9, 1, 8]
    assert rows.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0]
    assert rows.layout.index.tolist() == [0, 1, 2, 5, 6, 7, 8, 9, 10]
    assert rows.layout.ends.tolist() == [0, 3, 8, 9] and rows.layout.ends.dtype == torch.int32
    # Wanted padding (columns 3 and 4 of the first row) and position 0 of the last row are left out.
    assert rows.at.tolist() == [2, 7, 9] and rows.targets.tolist() == [4, 5, 1]
    assert rows.before.index.tolist() == [1, 4, 6] and rows.before.order is None
    assert not len(pack_rows(ids, torch.tensor([3, 5, 1])).at)


def test_a_shared_prompt_by_hand() -> None:
    # Rows 0 and 2 begin with (7, 3), row 1 with (8,). Packed: 7 3 4 | 8 5 | 9 1.
    ids = torch.tensor([[7, 3, 4, -9], [8, 5, -9, -9], [7, 3, 9, 1]])
    wanted = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]])
    for padded in (True, False):
        prompts = Prompts(torch.tensor([4, 6, 4]), torch.tensor([2, 1, 2]), padded)
        rows = pack_rows(ids, torch.tensor([3, 2, 4]), wanted, prompts=prompts)
        layout, keys = rows.layout, rows.layout.keys
        assert rows.tokens.tolist() == [7, 3, 4, 8, 5, 9, 1]
        assert rows.positions.tolist() == [0, 1, 2, 0, 1, 2, 3]
        assert layout.index.tolist() == [0, 1, 2, 4, 5, 10, 11] and layout.ends.tolist() == [0, 3, 5, 7]
        assert rows.at.tolist() == [2, 5, 10, 11] and rows.targets.tolist() == [4, 5, 9, 1]
        assert rows.before.index.tolist() == [1, 3, 1, 5]  # both rows are predicted from the one 3
        assert layout.key_ends is not None and layout.key_ends.tolist() == [0, 3, 5, 9]
        assert keys is not None and keys.order is not None and keys.ends is not None
        if padded:
            assert keys.index.tolist() == [0, 1, 2, 2, 3, 4, 4, 4, 0, 1, 5, 6]
            assert keys.order.tolist() == [0, 8, 1, 9, 2, 4, 5, 10, 11]
        else:
            assert keys.index.tolist() == [0, 1, 2, 3, 4, 0, 1, 5, 6]
            assert keys.order.tolist() == [0, 5, 1, 6, 2, 3, 4, 7, 8]
        assert keys.ends.tolist() == [0, 2, 4, 5, 6, 7, 8, 9]


def by_segment(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, key_ends: Tensor, longest: int, scale: float | None = None
) -> Tensor:
    """What a GPU's kernel does: a row's queries are the last of its keys."""
    found = []
    for (a, b), (c, d) in zip(pairwise(ends.tolist()), pairwise(key_ends.tolist()), strict=True):
        assert d - c <= longest
        seen = torch.ones(b - a, d - c, dtype=torch.bool).tril(d - c - (b - a))
        row_q, row_k, row_v = (x.transpose(0, 1)[None] for x in (q[a:b], k[c:d], v[c:d]))
        out = F.scaled_dot_product_attention(
            row_q, row_k, row_v, attn_mask=seen, enable_gqa=True, scale=scale
        )
        found.append(out[0].transpose(0, 1))
    return torch.cat(found)


PROMPTS = {3: (5, 9, 11), 7: (2,), 1: (5, 9)}
ROWS = [(3, 4), (7, 2), (3, 1), (1, 6), (3, 7), (7, 1)]  # prompt, completion tokens


def rows_of(*, padded: bool | None, poison: int = 0, device: str = "cpu") -> tuple[Rows, Tensor]:
    """Three prompts of several rows, and of one; `padded` None: nothing is shared. Random weights [B, T]."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([len(PROMPTS[p]) + n for p, n in ROWS])
    ids = torch.full((len(ROWS), int(lengths.max()) + 2), poison)
    wanted = torch.zeros(ids.shape, dtype=torch.bool)
    for row, (prompt, n) in enumerate(ROWS):
        start = len(PROMPTS[prompt])
        ids[row, :start] = torch.tensor(PROMPTS[prompt])
        ids[row, start : start + n] = torch.randint(0, 61, (n,), generator=generator)
        wanted[row, start:] = True
    prompts = None
    if padded is not None:
        numbers = torch.tensor([p for p, _ in ROWS])
        prompts = Prompts(numbers, torch.tensor([len(PROMPTS[p]) for p, _ in ROWS]), padded)
    weights = torch.randn(ids.shape, generator=generator, dtype=torch.float64)
    return pack_rows(ids, lengths, wanted, prompts=prompts, device=device), weights


def results(policy: Policy, rows: Rows, weights: Tensor) -> list[Tensor]:
    """Logprobs, and the gradient of their weighted sum."""
    policy.zero_grad()
    logprobs, _ = token_logprobs(policy, rows, temperature=0.8)
    (logprobs * weights).sum().backward()
    return [logprobs.detach(), *(p.grad for p in policy.parameters() if p.grad is not None)]


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("name", DIMS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_sharing_changes_neither_logprobs_nor_gradients(
    name: str, padded: bool, dtype: torch.dtype, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "flash", by_segment)
    for recompute in (False, True):
        policy = random_policy(DIMS[name]).to(dtype)
        policy.recompute_layers = recompute
        alone, weights = rows_of(padded=None)
        shared, _ = rows_of(padded=padded, poison=-(10**12))
        assert len(shared.tokens) == len(alone.tokens) - 2 * 3 - 1
        expected = [x.clone() for x in results(policy, alone, weights)]
        for x, y in zip(results(policy, shared, weights), expected, strict=True):
            assert float((x - y).norm()) <= limit * float(y.norm())
            assert float(y.norm()) > 0


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_a_step_with_packed_keys_is_the_step_with_padded_ones(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's way through a whole step: groups split over microbatches, rows alone, all at once."""
    lines = ("objective.value.shared_trunk=true",) if name == "ppo" else ()
    whole = moved(name, GROUPS, *lines)
    monkeypatch.setattr(attention, "flash", by_segment)
    monkeypatch.setattr(gradient, "pads", lambda *_: False)
    for tokens in (1, 9, 14, 8192):
        close(moved(name, GROUPS, *lines, f"trainer.microbatch_tokens={tokens}"), whole)


class Readings(TorchDispatchMode):
    """Operations whose result, or whose result's size, has to come back from a GPU."""

    NAMES = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.num_operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num_operations += 1
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name.startswith(self.NAMES) or any(i is not None and i.dtype == torch.bool for i in indices):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "lines"),
    [("grpo", ()), ("ppo", ("objective.value.shared_trunk=true",)), ("ppo", ()), ("distill_on_policy", ())],
)
def test_microbatches_read_nothing_back(
    name: str, lines: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings()

    def watched(function: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            with readings:
                return function(*args, **keywords)

        return call

    for each in ("_backward", "_put", "token_logprobs"):
        monkeypatch.setattr(gradient, each, watched(getattr(gradient, each)))
    moved(name, GROUPS, *lines, "trainer.microbatch_tokens=13")
    assert readings.num_operations > 1000
    assert not readings.found
    with readings:
        torch.ones(2)[torch.tensor([True, False])].sum().item()
    assert readings.found  # it is a test
