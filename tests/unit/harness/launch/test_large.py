"""Seconds of a step on verl, by hand, at round rates.

A model of one layer of width 8: 640 matmul weights, a head of 88, attention of 4 x 8 FLOPs a pair (see
test_verl_memory.py). 16 prompts x 4 outputs on 4 GPUs; outputs of 100 of 200 tokens after 256 of prompt.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.launch.costs import estimate
from harness.launch.large import H100, run_cost, step_seconds
from harness.launch.plan_machines import large_lines
from harness.launch.run import main
from harness.model.verl_memory import GIB
from harness.schema.run_config import RunConfig
from tests.shapes import model_dims
from tests.unit.harness.tiny import configure

DIMS = model_dims()
RATES = replace(
    H100, flops=1e6, bandwidth=1e6, train=0.5, score=0.25, decode=0.5, transfer=1e3, decode_step=0.0
)
LENGTH = 356
FORWARD = 64 * (2 * (640 * LENGTH + 88 * 100) + 4 * 8 * LENGTH * (LENGTH + 1) / 2)


def config(*overrides: str) -> RunConfig:
    settings = ("trainer.engine=verl", "dtype=bfloat16", "objective.updates.minibatches=1", "device=cuda")
    sizes = ("rollout.prompts_per_step=16", "rollout.max_new_tokens=200", "rollout.max_batch_size=512")
    return configure(*settings, *sizes, "objective.kl.coef=0.1", "+trainer.verl.gpus=4", *overrides)


def phases(*overrides: str) -> dict[str, float]:
    return step_seconds(config(*overrides), DIMS, gpu_bytes=8 * GIB, rates=RATES)


def test_training_and_scoring_are_passes_over_all_gpus() -> None:
    found = phases()
    assert found["training"] == pytest.approx(3 * FORWARD / (4e6 * 0.5))
    assert found["scoring"] == pytest.approx(2 * FORWARD / (4e6 * 0.25))
    assert found["handing over"] == 2 * 752 / 1e3
    more = phases("trainer.gradient_checkpointing=true", "objective.updates.epochs=2", "objective.kl.coef=0")
    assert more["training"] == pytest.approx(2 * 4 * FORWARD / (4e6 * 0.5))
    assert more["scoring"] == pytest.approx(FORWARD / (4e6 * 0.25))


def test_sampling_takes_as_many_steps_as_the_longest_output() -> None:
    # A sampler has 16 outputs, on average 16 x 100 / 200 = 8 at work in each of 200 steps. A step reads the
    # weights, 2 x 752, and 8 x 32 bytes of cache x (256 + 50) tokens, at 0.5e6 a second; computing its 8
    # tokens, at 0.25e6 FLOPs a second, takes longer here. The prompts of 4 problems come first.
    read = (2 * 752 + 8 * 32 * 306) / 0.5e6
    computed = 8 * (2 * (640 + 88) + 4 * 8 * 356) / 0.25e6
    assert computed > read
    prefill = 16 / 4 * 2 * 640 * 256 / 0.25e6
    assert phases()["sampling"] == pytest.approx(prefill + 200 * computed)
    fast = replace(RATES, flops=1e12)
    found = step_seconds(config(), DIMS, gpu_bytes=8 * GIB, rates=fast)["sampling"]
    assert found == pytest.approx(200 * read, rel=1e-3)


def test_a_full_cache_makes_outputs_wait() -> None:
    """Two at once: 16 x 100 / 2 = 800 steps in place of 200."""
    fast = replace(RATES, flops=1e12)
    found = step_seconds(config("rollout.max_batch_size=2"), DIMS, gpu_bytes=8 * GIB, rates=fast)["sampling"]
    assert found == pytest.approx(800 * (2 * 752 + 2 * 32 * 306) / 0.5e6, rel=1e-3)


def test_a_run_is_its_steps_its_start_and_its_checkpoints() -> None:
    found = run_cost(config(), DIMS, gpu_bytes=8 * GIB, rates=RATES)
    # 4 steps, a checkpoint every 2: 16 bytes of each of 188 parameters at 1e3 bytes a second.
    assert found.training == pytest.approx(300 + 4 * found.step + 2 * 16 * 188 / 1e3)
    assert found.evaluation == 0 and found.seconds == found.training
    # 512 outputs of 24 tokens, at half their length: weights and cache once for 512 tokens.
    read = 2 * 752 + 512 * 32 * 0.5 * config().eval.max_new_tokens
    more = run_cost(config(), DIMS, gpu_bytes=8 * GIB, evaluated=1024, rates=RATES)
    assert more.evaluation == pytest.approx(2 * read / 0.5e6)


def test_twice_the_gpus_halve_training_and_not_sampling() -> None:
    one, two = phases(), phases("+trainer.verl.nodes=2", "+trainer.verl.ray=auto")
    assert two["training"] == pytest.approx(one["training"] / 2)
    assert two["sampling"] > 0.5 * one["sampling"] - 1e-9  # as many steps


def test_a_plan_takes_these_rates_for_a_run_on_verl() -> None:
    guess = estimate(config())
    assert guess.source == "stated rates of 4 H100s"
    (head, first, second, order) = large_lines([config()], here=False)
    assert "989 TFLOP/s" in head and "1 × 4 GPUs: a step" in first and "GPU hours" in second
    assert "one after another" in order


def test_the_plan_of_a_large_run_says_machines_memory_hours_and_order(
    capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    sizes = ("rollout.max_new_tokens=8192", "trainer.gradient_checkpointing=true", f"output_dir={tmp_path}")
    settings = ("model=qwen2_5_7b", "trainer.engine=verl", "dtype=bfloat16", "trainer.verl.gpus=8")
    assert main(["--plan", *settings, *sizes]) == 0
    said = capsys.readouterr().out
    assert "qwen2_5_7b on verl, a rank of 1 × 8 GPUs with 80 GiB (stated)" in said
    assert "tokens sampled" in said and "GPU hours" in said and "Order: bases, then the runs" in said
