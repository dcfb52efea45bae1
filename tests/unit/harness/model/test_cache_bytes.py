"""Choose the native sampler's cache on a GPU where the setting leaves it open."""

from __future__ import annotations

import pytest

from harness.launch.compose import Composer
from harness.model.cache_bytes import LONG, cache_of, most_cache_bytes, takes_whole_rows
from harness.schema.run_config import RunConfig

COMPOSER = Composer()


def configure(*lines: str) -> RunConfig:
    return COMPOSER.config(["model=qwen2_5_1_5b", "data=gsm8k", "eval.max_new_tokens=256", *lines])


@pytest.mark.parametrize(
    ("lines", "head_dim", "cache"),
    [
        ([f"rollout.max_new_tokens={LONG - 1}"], 128, "whole"),
        ([f"rollout.max_new_tokens={LONG}"], 128, "paged"),
        ([f"rollout.max_new_tokens={LONG}"], None, "paged"),
        ([f"rollout.max_new_tokens={LONG}"], 80, "whole"),  # the kernels do not take such heads
        (["rollout.max_new_tokens=256", f"eval.max_new_tokens={LONG}"], 128, "paged"),
        (["rollout.max_new_tokens=256", "eval.benchmarks=[aime24]"], 128, "paged"),
        ([f"rollout.max_new_tokens={LONG}", "rollout.cache=whole"], 128, "whole"),
        (["rollout.max_new_tokens=256", "rollout.cache=paged"], 128, "paged"),
    ],
)
def test_a_cache_left_open_has_pages_for_long_completions(
    lines: list[str], head_dim: int | None, cache: str
) -> None:
    config = configure(*lines)
    assert cache_of(config, head_dim) == cache
    finite = most_cache_bytes(config, "cuda", 100, head_dim or 128) == 30.0
    assert finite is (cache == "paged")
    if head_dim != 80:
        assert takes_whole_rows(config, "cuda") is (cache == "whole")
