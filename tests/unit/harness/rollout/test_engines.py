"""What an engine is refused for before it is built."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.launch.compose import Composer
from harness.rollout import engines
from tests.shapes import model_dims


@pytest.mark.parametrize("head_dim", [8, 80, 96])
def test_pages_of_heads_that_the_kernels_do_not_take_are_refused(head_dim: int) -> None:
    policy: Any = SimpleNamespace(
        dims=model_dims(head_dim=head_dim), head_weight=SimpleNamespace(is_cuda=True), exact=False
    )
    for lines, remedy in (
        (["rollout.cache=paged"], "set rollout.cache=whole"),
        (["rollout.cache=paged", "rollout.exact=true"], "set rollout.cache=whole, and rollout.exact=false"),
    ):
        config = Composer().config(["experiment=smoke", "device=cuda", *lines])
        with pytest.raises(ValueError, match=rf"rollout\.cache=paged: .* not of {head_dim}; {remedy}$"):
            engines._engine(config, policy, {})
    assert not policy.exact
