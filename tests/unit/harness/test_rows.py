"""How rows are packed, and that a GPU would never be waited for while a step's gradient is computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness import gradient
from harness.rows import pack_rows
from tests.unit.harness.test_step_invariance import GROUPS, moved


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
    assert rows.before.tolist() == [1, 4, 6]
    assert not len(pack_rows(ids, torch.tensor([3, 5, 1])).at)


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

    for each in ("_microbatch", "_put", "token_logprobs"):
        monkeypatch.setattr(gradient, each, watched(getattr(gradient, each)))
    moved(name, GROUPS, *lines, "trainer.microbatch_tokens=13")
    assert readings.num_operations > 1000
    assert not readings.found
    with readings:
        torch.ones(2)[torch.tensor([True, False])].sum().item()
    assert readings.found  # it is a test
