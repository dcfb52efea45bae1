"""Memory of a rank, by hand, on a model small enough to count.

One layer of width 8 with inner width 16, one head of 8, tied embeddings of 11 x 8:
    layer: q, k, v, o 4 x 64 = 256; gate, up, down 3 x 128 = 384; two norms 16       656
    last norm 8; embedding 88                                                        752 parameters in all
"""

from __future__ import annotations

import math

import pytest

from harness.model import verl_memory
from harness.model.dims import weight_shapes
from harness.model.verl_memory import GIB, cache_bytes, check_fits, rank_needs
from harness.schema.run_config import ConfigError, RunConfig
from tests.shapes import model_dims
from tests.unit.harness.tiny import configure

DIMS = model_dims()
ON_VERL = (
    *("trainer.engine=verl", "dtype=bfloat16", "objective.updates.minibatches=1"),
    *("rollout.max_new_tokens=44", "trainer.microbatch_tokens=300"),
)


def config(*overrides: str) -> RunConfig:
    return configure(*ON_VERL, "+trainer.verl.gpus=4", *overrides)


def test_what_is_sharded_is_divided_by_all_ranks() -> None:
    need = rank_needs(config(), DIMS, 8 * GIB)
    assert sum(map(math.prod, weight_shapes(DIMS).values())) == 752
    assert (need.training["weights"], need.training["optimiser"]) == (4 * 188, 8 * 188)
    assert need.training["gradients"] == 4 * 188
    wide = rank_needs(config("+trainer.verl.nodes=2", "+trainer.verl.ray=auto"), DIMS, 8 * GIB)
    assert wide.training["weights"] == 4 * 94
    assert wide.training["gathered layers"] == need.training["gathered layers"]


def test_what_is_whole_for_a_moment() -> None:
    # bfloat16: two layers of 752 - 88 = 664, and the 88 of the embedding; float32: gradients of 664 and 88.
    assert (
        rank_needs(config(), DIMS, 8 * GIB).training["gathered layers"]
        == 2 * (2 * 664 + 88) + 4 * 664 + 4 * 88
    )


def test_a_microbatch_and_its_logits() -> None:
    # 256 tokens of prompt and 44 of completion make 300. Saved by the layer: norms 4 x 8, attention 5 x 8,
    # inner 3 x 16 = 120; for its backward pass 2 x 8 + 40 + 4 x 16 = 120.
    need = rank_needs(config(), DIMS, 8 * GIB)
    assert need.training["activations"] == 2 * 300 * (120 + 120)
    assert need.training["logits"] == 8 * 300 * 11
    # With checkpointing the layer's input (8) is saved beside the layer at work.
    again = rank_needs(config("trainer.gradient_checkpointing=true"), DIMS, 8 * GIB)
    assert again.training["activations"] == 2 * 300 * (8 + 120 + 120)
    # Two GPUs share a sequence: 150 tokens each, where the microbatch is no larger.
    shared = rank_needs(
        config("+trainer.verl.sequence_parallel=2", "trainer.microbatch_tokens=1"), DIMS, 8 * GIB
    )
    assert shared.training["logits"] == 8 * 150 * 11


def test_what_a_sampler_holds() -> None:
    # A token's keys and values: 2 x 1 layer x 1 head x 8 x 2 bytes = 32.
    assert cache_bytes(DIMS) == 32
    need = rank_needs(config("+trainer.verl.memory=0.5"), DIMS, 8 * GIB)
    cache = 4 * GIB - 2 * 752 - 2 * GIB
    assert need.sampling["keys and values"] == cache
    assert need.cache_tokens == cache / 32
    assert need.sampling["weights"] == 4 * 188
    pair = rank_needs(config("+trainer.verl.tensor_parallel=2"), DIMS, 8 * GIB)
    assert pair.sampling["sampler's weights"] == 752
    assert pair.cache_tokens == 2 * (2 * GIB - 752) / 32
    assert rank_needs(config(), DIMS, GIB).cache_tokens == 0


def test_offloading_moves_what_is_held_to_the_node() -> None:
    near, far = config("objective.kl.coef=0"), config("objective.kl.coef=0", "+trainer.verl.offload=true")
    assert rank_needs(near, DIMS, 8 * GIB).host == {}
    need = rank_needs(far, DIMS, 8 * GIB)
    assert need.host == {"offloaded": 12 * 188} and "weights" not in need.sampling
    assert need.training["weights"] == 4 * 188
    assert rank_needs(config("objective.kl.coef=0.1"), DIMS, 8 * GIB).host == {"reference": 4 * 188}


def test_a_run_that_does_not_fit_is_refused_with_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verl_memory, "gpu_total", lambda: 8 * GIB)
    check_fits(config("+trainer.verl.memory=0.5"))
    with pytest.raises(
        ConfigError, match=r"a rank takes about .* GiB and a GPU here has 8.0; .*sequence_par"
    ):
        check_fits(config("trainer.microbatch_tokens=99999999"))
    with pytest.raises(ConfigError, match=r"a sampler holds 0 tokens, and one output takes 44; raise it"):
        check_fits(config("+trainer.verl.memory=0.2"))
    check_fits(config("+trainer.verl.memory=0.2", "+trainer.verl.ray=auto"))  # whose GPUs are others


def test_a_plan_says_it_in_lines() -> None:
    lines = verl_memory.describe(config(), here=False)
    assert "a rank of 1 × 4 GPUs with 80 GiB (stated)" in lines[0] and lines[0].endswith("fits")
    assert lines[1].startswith("  in training PyTorch 2.0, weights") and "whole outputs" in lines[2]
