"""What one run holds while it trains, how it is set up, saved and published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from harness import checkpoint
from harness.batching import sampled_work
from harness.config import ConfigError, RunConfig
from harness.data.load import data_fingerprint, load_split
from harness.engines import adapted_engine, engine_key, load_policy, warm_engine
from harness.identity import digest, teacher_folder
from harness.learning.accounting import Meter
from harness.learning.ahead import GradingAhead
from harness.learning.critic import ValueModel, init_value
from harness.learning.distributed import check, hub_weights, shard, world_size
from harness.learning.kept import Kept
from harness.learning.optim import adamw
from harness.memory import explained
from harness.model import Policy
from harness.network.codec import Codec
from harness.network.dims import ModelDims, forward_flops
from harness.network.hub import copy_tokenizer, load_pretrained, save_pretrained
from harness.network.lora import WithoutAdapters, save_adapter
from harness.prompts import make_prompt
from harness.reward_models.process_reward_model import ProcessRewardModel, process_reward_model
from harness.reward_models.reward_model import RewardModel, reward_model
from harness.seeds import all_streams, derive
from harness.types import Problem, Prompt, Rollout, RolloutEngine
from harness.warm import keep

COUNTERS = (
    *("num_updates", "skipped_in_a_row", "seconds", "tokens", "flops", "peak_memory", "kl_coef"),
    "microbatch_tokens",
)


@dataclass
class Run:
    """Everything one run holds while it trains. Counters survive a resume through the checkpoint.

    `sampler` is what the engine samples from, whole and as of the last hand-over: the policy itself, unless
    that is sharded over several processes.
    """

    config: RunConfig
    folder: Path
    base: Path
    policy: Policy
    sampler: Policy
    reference: Policy | None
    optimizer: torch.optim.Optimizer
    engine: RolloutEngine
    codec: Codec
    problems: list[Problem]
    prompts: dict[str, Prompt]
    seeds: dict[str, int]
    kept: Kept
    value: ValueModel | None
    kl_coef: float
    reward_model: RewardModel | None = None
    step_model: ProcessRewardModel | None = None
    step: int = 0
    num_updates: int = 0
    skipped_in_a_row: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)  # bytes, by phase
    lap_seconds: dict[str, float] = field(default_factory=dict)  # of the current step
    lap_peaks: dict[str, int] = field(default_factory=dict)
    world_size: int = field(default_factory=world_size)
    ahead: GradingAhead | None = None
    progress: Callable[[str], None] = lambda note: None  # says what a step is doing
    microbatch_tokens: int = 0  # the config's, or what is left of it after running out of memory
    last_check: tuple[Tensor, Tensor, Tensor] | None = None  # of the engine's weights, by `sync`

    def __post_init__(self) -> None:
        self.microbatch_tokens = self.microbatch_tokens or self.config.trainer.microbatch_tokens
        self.meter = Meter(self.device, self._book)

    @property
    def device(self) -> torch.device:
        return self.policy.head_weight.device

    @property
    def trained(self) -> dict[str, nn.Module]:
        """What training changes beside the policy: the value model, a reference that is refreshed."""
        found: dict[str, nn.Module] = {} if self.value is None else {"value": self.value}
        if self.reference is not None and self.config.objective.kl.refresh_every is not None:
            found["reference"] = self.reference
        return found

    def encode(self, text: str) -> list[int]:
        """A completion's tokens; a prompt's are the codec's under the template."""
        return self.codec.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.codec.decode(ids)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Seconds and peak memory of a phase; one inside another is not counted in it."""
        dtype = self.policy.head_weight.dtype
        with explained(phase, self.config, self.policy.dims, dtype), self.meter.phase(phase):
            yield

    def _book(self, phase: str, seconds: float, peak: int) -> None:
        for totals in (self.seconds, self.lap_seconds):
            totals[phase] = totals.get(phase, 0.0) + seconds
        for peaks in (self.peak_memory, self.lap_peaks):
            peaks[phase] = max(peaks.get(phase, 0), peak)

    def count(
        self,
        use: str,
        prompts: Sequence[Prompt],
        rollouts: Sequence[Rollout],
        *,
        passes: float = 1.0,
        headless: float = 0.0,
        dims: ModelDims | None = None,
    ) -> None:
        """Completion tokens, and the model FLOPs of so many forward passes over prompts and completions.

        A prompt that several have is computed once. `headless` passes have no output head. `dims` are those
        of another model than the policy.
        """
        done, model = sampled_work(prompts, rollouts), dims or self.policy.dims
        cost = passes * forward_flops(model, **done)
        cost += headless * forward_flops(model, **{**done, "predicted": 0.0})
        self.add(use, int(done["predicted"]), cost)

    def add(self, use: str, num_tokens: int, flops: float) -> None:
        """Tokens and model FLOPs to what the run has used so far."""
        self.tokens[use] = self.tokens.get(use, 0) + num_tokens
        self.flops[use] = self.flops.get(use, 0.0) + flops


def setup(config: RunConfig, *, base: Path, folder: Path, device: str) -> Run:
    """Load the base and, if the run was interrupted, the state it had."""
    check(config, world_size())
    seeds = all_streams(seed=config.seed, base_seed=config.base_seed, replicate=config.replicate)
    sampler, original, engine, codec = _models(config, base, device, seed=derive(seeds["init"], "lora"))
    policy = _policy(config, base, sampler, device)
    policy.recompute_layers = config.trainer.gradient_checkpointing
    problems = load_split(config.data, "train")
    if len(problems) < config.rollout.prompts_per_step:
        raise ConfigError(
            f"rollout.prompts_per_step={config.rollout.prompts_per_step} exceeds the {len(problems)} "
            "training problems of data.num_train; lower it"
        )
    value = _value_model(config, base, policy, seed=derive(seeds["init"], "value"), device=device)
    run = Run(
        config=config,
        folder=folder,
        base=base,
        policy=policy,
        sampler=sampler,
        reference=_reference(config, base, original, device),
        optimizer=_optimizer(config, policy, value),
        engine=engine,
        codec=codec,
        problems=problems,
        prompts={},
        seeds=seeds,
        kept=Kept(config, original, codec, base),
        value=value,
        kl_coef=config.objective.kl.coef,
    )
    run.prompts = _prompts(config, problems, codec, base, device)
    state = checkpoint.load_resume(folder, policy=policy, optimizer=run.optimizer, others=run.trained)
    if state is not None:
        for name in state.keys() & {"step", *COUNTERS}:
            setattr(run, name, state[name])
    with run.timed("start"):
        engine.load_weights(hub_weights(policy))
    if config.objective.reward_model is not None:
        run.reward_model = reward_model(run, base)
    if config.objective.process_reward_model is not None:
        run.step_model = process_reward_model(run, base)
    return run


def _prompts(
    config: RunConfig, problems: Sequence[Problem], codec: Codec, base: Path, device: str
) -> dict[str, Prompt]:
    """Every training prompt's tokens, of this run or of an earlier one with these problems and this model."""
    template = config.data.template
    data = digest(data_fingerprint(config.data), length=64)
    found, _ = keep(
        "prompts",
        (data, template, *engine_key(config, base / "model", device)),
        lambda: {p.id: make_prompt(p, template, codec.prompt_ids) for p in problems},
    )
    return found


def _models(
    config: RunConfig, base: Path, device: str, *, seed: int
) -> tuple[Policy, Policy, RolloutEngine, Codec]:
    """The policy, its base, its sampler and its tokenizer; with LoRA the base is the policy without it."""
    if config.trainer.lora is not None:
        policy, engine, codec = adapted_engine(config, base, device, seed=seed)
        original = cast(Policy, WithoutAdapters(policy))
    else:
        made = (base / "model" / "config.json").stat().st_mtime_ns
        key = (str(base), made, config.dtype, device)
        original, _ = keep("base", key, lambda: load_policy(config, base / "model", device))
        policy, engine, codec = warm_engine(config, base / "model", device, original=original)
    return policy, original, engine, codec


def _policy(config: RunConfig, base: Path, sampler: Policy, device: str) -> Policy:
    """What is trained: the sampler's own weights, or float32 shards of a copy over several processes."""
    if world_size() == 1:
        return sampler
    masters = load_pretrained(base / "model", dtype=torch.float32, device=device)
    return shard(masters, getattr(torch, config.dtype))


def _reference(config: RunConfig, base: Path, original: Policy, device: str) -> Policy | None:
    kl = config.objective.kl
    if not kl.uses_reference:
        return None
    if kl.reference == "teacher":
        folder = teacher_folder(config)
        found = load_policy(config, folder, device)
        if found.dims.vocab_size != original.dims.vocab_size:
            raise ConfigError(
                f"objective.teacher.path={folder}: {found.dims.vocab_size} tokens where the student "
                f"has {original.dims.vocab_size}; use objective=distill"
            )
        return found
    # The base stays what `kept` measures against, so a reference that changes is another copy.
    return original if kl.refresh_every is None else load_policy(config, base / "model", device)


def _value_model(
    config: RunConfig, base: Path, policy: Policy, *, seed: int, device: str
) -> ValueModel | None:
    slot = config.objective.value
    if slot is None:
        return None
    trunk = None if slot.shared_trunk else load_policy(config, base / "model", device)
    return init_value(policy.dims.hidden_size, trunk=trunk, seed=seed).to(device)


def _optimizer(config: RunConfig, policy: Policy, value: ValueModel | None) -> torch.optim.Optimizer:
    trainer, slot = config.trainer, config.objective.value
    return adamw(
        policy,
        lr=trainer.lr,
        betas=(trainer.beta1, trainer.beta2),
        eps=trainer.adam_eps,
        weight_decay=trainer.weight_decay,
        others=[] if value is None or slot is None else [(value, slot.lr_scale)],
        bits=8 if trainer.optimizer == "adamw_8bit" else 32,
    )


def save(run: Run) -> None:
    checkpoint.save_resume(
        run.folder,
        step=run.step,
        policy=run.policy,
        optimizer=run.optimizer,
        trainer={name: getattr(run, name) for name in COUNTERS},
        others=run.trained,
    )


def weights_folder(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step_{step:06d}"


def publish(run: Run) -> None:
    """The weights in the hub's format with their tokenizer: what evaluation, vLLM and transformers load."""

    def write(target: Path) -> None:
        ends, begin = run.codec.eos_token_ids, run.codec.bos_token_id
        save_pretrained(run.sampler, target, eos_token_ids=ends, bos_token_id=begin)
        copy_tokenizer(run.base / "model", target)
        if (lora := run.config.trainer.lora) is not None:
            name = run.config.model.hub_id or run.config.model.name
            save_adapter(run.policy, lora, target / "adapter", base=name)

    checkpoint.publish(weights_folder(run.folder, run.step), write)
