"""The memory that is foretold against the memory that a step takes, and runs that are refused before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.launch.compose import Composer
from harness.launch.expand import expand
from harness.model import needs as needs_module
from harness.model import preflight
from harness.model.files.source import shape
from harness.model.preflight import LADDER_VOCABULARY, Placement, check_fits, describe, needs, place
from harness.schema.run_config import ConfigError, RunConfig

FACTOR = 1.5
COMPOSER = Composer()
SHAPE = (
    "model.dims={hidden_size: 256, intermediate_size: 768, num_layers: 8, num_heads: 4, num_kv_heads: 1, "
    "head_dim: 64, max_position_embeddings: 1024}"
)
LINES = ("model=ladder_xs", SHAPE, "data.num_train=16", "objective.reward={random: 1.0}")
WIDE = ("rollout.prompts_per_step=8", "rollout.max_new_tokens=200", "trainer.microbatch_tokens=8192")

# In a process of its own: what PyTorch and a base take before, then the peak of one step.
STEP = """
import resource, sys
from pathlib import Path
from harness.launch.compose import Composer
from harness.model.dims import ModelDims
from harness.model.files.hub import save_pretrained
from harness.model.policy import init_policy
from harness.training.setup import setup
from harness.model.files.tokenizer import build_ladder_tokenizer, save_tokenizer
from harness.training.trainer import sample_and_grade, update_policy

folder, *lines = sys.argv[1:]
config = Composer().config(lines)
dims = {**config.model.dims.model_dump(), "vocab_size": build_ladder_tokenizer().get_vocab_size()}
base = Path(folder) / "base"
save_pretrained(init_policy(ModelDims(**dims), 0), base / "model", eos_token_ids=(1,))
save_tokenizer(base / "model")
run = setup(config, base=base, folder=Path(folder) / "run", device="cpu")
groups, _ = sample_and_grade(run)
update_policy(run, groups, total=1)
# Each timed phase begins the system's peak anew, so the whole peak is the largest of all that were read.
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(max(peak, *run.counters.peak_memory.values()))
"""


def configure(*overrides: str) -> RunConfig:
    return COMPOSER.config([*LINES, *overrides])


def foretold(config: RunConfig) -> float:
    dims = shape(config.model, vocab_size=LADDER_VOCABULARY)
    assert dims is not None
    return needs(config, dims, "cpu").total


@pytest.mark.parametrize("extra", [(), ("trainer.gradient_checkpointing=true",)], ids=["all", "recomputed"])
def test_the_estimate_is_within_its_factor_of_a_measured_peak(tmp_path: Path, extra: tuple[str, ...]) -> None:
    lines = [*LINES, *WIDE, *extra]
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(tmp_path), *lines], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    measured = float(done.stdout.split()[-1])
    estimate = foretold(configure(*WIDE, *extra))
    print(f"{extra}: foretold {estimate / 2**20:.0f} MiB, measured {measured / 2**20:.0f} MiB")
    assert 1 / FACTOR < estimate / measured < FACTOR


def test_every_part_moves_with_its_setting() -> None:
    def changed(*overrides: str) -> set[str]:
        dims = shape(configure().model, vocab_size=LADDER_VOCABULARY)
        assert dims is not None
        before, after = (needs(c, dims, "cpu").parts for c in (configure(), configure(*overrides)))
        return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}

    assert changed("trainer.microbatch_tokens=4096") == {"activations"}
    assert changed("trainer.gradient_checkpointing=true") == {"activations"}
    assert changed("rollout.max_batch_size=32") == {"keys and values", "logits of a sampled token"}
    assert {"gradients", "optimizer", "base"} <= changed("trainer.lora={rank: 2, alpha: 4}")
    assert "value model" in changed("objective=ppo") and "policy" in changed("dtype=bfloat16")


def test_vllm_holds_its_share_of_a_gpu_or_its_own_cache_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs_module, "gpu_total", lambda: 80 * 2**30)
    dims = shape(configure().model, vocab_size=LADDER_VOCABULARY)
    assert dims is not None
    lines = ("rollout.engine=vllm", "rollout.vllm.memory=0.25")
    on_gpu = needs(configure(*lines), dims, "cuda")
    assert on_gpu.always["vLLM's share"] == 20 * 2**30 and "keys and values" not in on_gpu.parts
    released = needs(configure(*lines, "rollout.release=true"), dims, "cuda")
    assert released.sampling == {"vLLM's share": 20 * 2**30} and "vLLM's share" not in released.always
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    config = configure(lines[0], "rollout.vllm.dtype=bfloat16")
    on_cpu = needs(config, dims, "cpu").always
    assert on_cpu["vLLM's keys and values"] == 3 * 2**30
    assert on_cpu["vLLM's weights"] == on_cpu["policy"] / 2  # bfloat16 beside float32
    monkeypatch.setattr(preflight, "system_memory", lambda: 2**30)
    with pytest.raises(ConfigError, match="VLLM_CPU_KVCACHE_SPACE"):
        check_fits(config.model_copy(update={"device": "cpu"}))


def test_a_paged_cache_is_what_rows_need_or_its_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen2.5-1.5B, 128 rows: 28,672 bytes a token. 32k tokens and a prompt each are 113 GiB."""
    monkeypatch.setattr(preflight, "gpu_total", lambda: 80 * 2**30)
    lines = ("model=qwen2_5_1_5b", "data=gsm8k", "dtype=bfloat16", "rollout.prompts_per_step=16")
    found = {}
    for tokens in (1024, 32768):
        for cache in ("whole", "paged"):
            config = COMPOSER.config([*lines, f"rollout.max_new_tokens={tokens}", f"rollout.cache={cache}"])
            dims = shape(config.model)
            assert dims is not None
            found[tokens, cache] = needs(config, dims, "cuda").parts["keys and values"]
            on_cpu = needs(config, dims, "cpu").parts["keys and values"]
            assert on_cpu == found[tokens, "whole"]
    assert found[1024, "paged"] == found[1024, "whole"] == 128 * (1024 + 256) * 28_672
    assert found[32768, "whole"] == 128 * (32768 + 256) * 28_672
    assert found[32768, "paged"] == 0.3 * 80 * 2**30


def test_parameters_of_a_known_model_are_counted_as_they_are() -> None:
    # Qwen2.5-7B in bfloat16, all of it trained: 7.62e9 × (2 policy + 2 base + 12 optimizer) bytes.
    config = COMPOSER.config(["model=qwen2_5_7b", "data=gsm8k", "dtype=bfloat16"])
    dims = shape(config.model)
    assert dims is not None
    parts = needs(config, dims, "cuda").parts
    assert parts["policy"] + parts["base"] + parts["optimizer"] == pytest.approx(7.616e9 * 16, rel=1e-3)
    # On a CPU 256 tokens of 152,064 logits at once, 12 bytes each, and the head's gradient in float32.
    logits = needs(config, dims, "cpu").training["logits"]
    assert logits == 256 * 152_064 * 12 + 152_064 * 3584 * 4
    # LoRA of rank 16 on all seven modules of 28 layers: 16 × 28 × the sum of their (in + out).
    sums = (3584 + 3584) * 2 + (3584 + 512) * 2 + (3584 + 18944) * 3
    small = needs(config.model_copy(update={"trainer": _with_lora(config)}), dims, "cuda").parts
    assert small["optimizer"] == 16 * 28 * sums * 12 and "base" not in small


def _with_lora(config: RunConfig) -> object:
    return COMPOSER.config(["trainer.lora={rank: 16, alpha: 32}"]).trainer


def test_a_run_that_cannot_fit_is_refused_with_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "gpu_memory", lambda: None)
    monkeypatch.setattr(preflight, "system_memory", lambda: 8 * 2**30)
    check_fits(configure())
    config = COMPOSER.config(["model=qwen2_5_7b", "data=gsm8k"])
    with pytest.raises(ConfigError) as error:
        check_fits(config)
    text = str(error.value)
    for part in (
        "model=qwen2_5_7b",
        "GiB",
        "cpu has 8.0 GiB free",
        "optimizer 56.7",
        "dtype=bfloat16",
        "lora",
    ):
        assert part in text
    assert "8.0 free on the cpu" in describe(config)


def test_each_of_several_processes_has_its_share() -> None:
    # Qwen2.5-7B, 7.616e9 parameters: float32 masters and moments (12 bytes) are shared out, bfloat16 weights
    # (2) are whole in each process for sampling; gradients are whole in replicas, in shards float32.
    config = COMPOSER.config(["model=qwen2_5_7b", "data=gsm8k", "dtype=bfloat16"])
    dims = shape(config.model)
    assert dims is not None
    parameters = 7.616e9
    by_kind = {
        "replicas": Placement(4),
        "frozen": Placement(4, frozen_sharded=True),
        "sharded": Placement(4, sharded=True, frozen_sharded=True),
    }
    for kind, placement in by_kind.items():
        parts = needs(config, dims, "cuda", placement).parts
        assert parts["policy"] == pytest.approx(2 * parameters, rel=1e-3)
        assert parts["optimizer"] == pytest.approx(12 * parameters / 4, rel=1e-3)
        assert parts["base"] == pytest.approx(2 * parameters / (1 if kind == "replicas" else 4), rel=1e-3)
        gradients = 4 * parameters / 4 + (0 if kind == "sharded" else 2 * parameters)
        assert parts["gradients"] == pytest.approx(gradients, rel=1e-3)
    alone, four = (needs(config, dims, "cuda", Placement(n)).parts for n in (1, 4))
    assert four["keys and values"] < alone["keys and values"] or config.rollout.max_batch_size <= 8
    eight = COMPOSER.config(["model=qwen2_5_7b", "data=gsm8k", "trainer.optimizer=adamw_8bit"])
    whole = [needs(eight, dims, "cuda", Placement(n)).parts["optimizer"] for n in (1, 4)]
    assert whole[0] == whole[1]


def test_weights_are_placed_by_the_first_way_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["model=qwen2_5_7b", "data=gsm8k", "dtype=bfloat16", "rollout.release=true"]
    config = COMPOSER.config([*lines, "trainer.gradient_checkpointing=true"])
    dims = shape(config.model)
    assert dims is not None

    def placed(gib: int, *more: str, processes: int = 2) -> tuple[bool, bool]:
        monkeypatch.setattr(preflight, "gpu_total", lambda: gib * 2**30)
        asked = COMPOSER.config([*lines, "trainer.gradient_checkpointing=true", *more])
        found = place(asked, dims, "cuda", processes=processes)
        assert found.processes == processes
        return found.sharded, found.frozen_sharded

    sizes = [placed(gib) for gib in range(60, 260, 4)]
    assert list(dict.fromkeys(sizes)) == [(True, True), (False, True), (False, False)]
    assert placed(80) == (True, True) and placed(240) == (False, False)
    assert placed(240, "trainer.parallel=sharded") == (True, True)
    assert placed(80, "trainer.parallel=replicas") == (False, True)
    assert placed(80, "trainer.lora={rank: 4, alpha: 8}") == (False, False)  # in shards there are no adapters
    assert place(config, dims, "cuda", processes=1) == Placement()
    monkeypatch.setattr(preflight, "gpu_total", lambda: None)
    assert place(config, dims, "cuda", processes=2) == Placement(2)


def test_processes_that_do_not_fit_are_refused_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(preflight, "gpu_memory", lambda: None)
    monkeypatch.setattr(preflight, "system_memory", lambda: 64 * 2**30)
    config = COMPOSER.config(["model=qwen2_5_7b", "data=gsm8k", "device=cpu"])
    with pytest.raises(ConfigError, match=r"each of 2 processes .* this cpu has 32\.0 GiB free"):
        check_fits(config)
    assert "for each of 2 processes" in describe(config)
    monkeypatch.delenv("WORLD_SIZE")
    named = COMPOSER.config(["model=qwen2_5_7b", "data=gsm8k", "trainer.processes=8"])
    assert "for each of 8 processes (replicas)" in describe(named, here=False)  # planned for elsewhere
    assert "processes" not in describe(named)  # here it is one


def test_adapters_without_their_package_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install peft"):
        expand(["trainer.lora={rank: 2, alpha: 4}"], multirun=False)


def test_memory_of_a_model_that_is_not_known_yet_is_not_guessed() -> None:
    config = COMPOSER.config(["model=hub", "model.hub_id=nobody/nothing-at-all", "data=gsm8k"])
    check_fits(config)
    assert "unknown" in describe(config)
