"""Against a peer, TRL 1.16.0: its own `_compute_loss` fed the same advantages, float32 logits and masks, and
the advantages its trainers give to the same rewards.

For the loss TRL's methods run unmodified on a stand-in for the trainer, whose
`_get_per_token_logps_and_entropies` gives the log-softmax of a leaf of logits: what is compared is the loss
and its gradient with respect to those logits.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.launch.compose import Composer
from harness.objectives.advantages import group_normalized, rloo
from harness.objectives.policy_loss import KLPenalty, policy_loss
from harness.objectives.reduce import denominator, reduce
from harness.schema.objective_config import ObjectiveConfig

trl = pytest.importorskip("trl", reason="TRL is a test dependency: pip install trl==1.16.0 accelerate")

B, T, V, MAX_LENGTH = 6, 5, 11, 8
COMPOSER = Composer()
# Our objective, with overrides -> TRL's loss type and ratio level, and how far old logprobs are off (nats a
# token): enough for its clip to bind, which is wide in cispo.
GRPO_SETTINGS: dict[str, tuple[str, tuple[str, ...], str, str, float]] = {
    "grpo": ("grpo", ("objective.kl.coef=0",), "grpo", "token", 0.3),
    "grpo_kl": ("grpo", (), "grpo", "token", 0.3),
    "dr_grpo": ("dr_grpo", (), "dr_grpo", "token", 0.3),
    "dapo": ("dapo", (), "dapo", "token", 0.3),
    "gspo": ("gspo", (), "grpo", "sequence", 0.3),
    "cispo": ("cispo", (), "cispo", "token", 1.5),
}
RLOO_NOISE = 0.3


def objective_of(name: str, overrides: tuple[str, ...] = ()) -> ObjectiveConfig:
    """As its YAML says: loss, clips, ratio, KL and reduction."""
    return COMPOSER.config(["experiment=smoke", f"objective={name}", *overrides]).objective


class Case:
    """One step's tensors. Old and reference logprobs are off by enough for the clips to bind on both
    sides.
    """

    def __init__(self, seed: int, noise: float) -> None:
        g = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(0, V, (B, T), generator=g)
        self.logits = torch.randn(B, T, V, generator=g)
        lengths = torch.randint(1, T + 1, (B, 1), generator=g)
        self.mask = torch.arange(T) < lengths  # [B, T]
        off = noise * torch.randn(2, B, T, generator=g)
        current = self.logprobs(self.logits)
        self.old, self.ref = (torch.where(self.mask, current + n, 0.0) for n in off)
        self.advantages = torch.randn(B, generator=g)

    def logprobs(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(-1).gather(-1, self.ids.unsqueeze(-1)).squeeze(-1)  # [B, T]


def stand_in(case: Case, logits: Tensor, **settings: Any) -> SimpleNamespace:
    logprobs = case.logprobs(logits)
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (logprobs, torch.zeros(B, T), None),
        accelerator=SimpleNamespace(
            num_processes=1,
            sync_gradients=True,
            gather=lambda x: x,
            gather_for_metrics=lambda x: x,
            reduce=lambda x, reduction: x,
        ),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=MAX_LENGTH,
        _metrics={"train": defaultdict(list)},
        **settings,
    )


def inputs_of(case: Case) -> dict[str, Tensor]:
    return {
        "prompt_ids": torch.zeros(B, 1, dtype=torch.long),
        "prompt_mask": torch.ones(B, 1, dtype=torch.long),
        "completion_ids": case.ids,
        "completion_mask": case.mask.long(),
        "advantages": case.advantages,
        "old_per_token_logps": case.old,
        "ref_per_token_logps": case.ref,
        "old_logps": (case.old * case.mask).sum(1),
        "num_items_in_batch": case.mask.sum(),
    }


def ours(case: Case, logits: Tensor, objective: ObjectiveConfig) -> Tensor:
    beta, kind = objective.kl.coef, objective.reduce
    output = policy_loss(
        loss=objective.loss.fn,
        loss_params=objective.loss.params,
        ratio=objective.ratio,
        logprobs=case.logprobs(logits),
        old_logprobs=case.old,
        advantages=case.advantages,
        completion_mask=case.mask,
        ref_logprobs=case.ref,
        kl=KLPenalty(objective.kl.estimator, beta) if beta else None,
    )
    divisor = denominator(kind=kind, completion_mask=case.mask, constant=MAX_LENGTH)
    return reduce(loss=output.loss, completion_mask=case.mask, kind=kind, denominator=divisor)


def compare(mine: Tensor, my_logits: Tensor, theirs: Tensor, their_logits: Tensor) -> None:
    """1e-5 relative, of the loss and of the gradient as a whole (its largest element)."""
    mine.backward()
    theirs.backward()
    assert my_logits.grad is not None and their_logits.grad is not None
    scale = float(their_logits.grad.abs().max())
    assert scale > 1e-3
    assert float(mine.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5, abs=1e-7)
    torch.testing.assert_close(my_logits.grad, their_logits.grad, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", GRPO_SETTINGS)
def test_grpo_trainer(name: str, seed: int) -> None:
    yaml, overrides, loss_type, level, noise = GRPO_SETTINGS[name]
    objective, case = objective_of(yaml, overrides), Case(seed, noise)
    my_logits, their_logits = (case.logits.clone().requires_grad_() for _ in range(2))
    high = objective.loss.clip_high
    assert high is not None
    trainer = stand_in(
        case,
        their_logits,
        loss_type=loss_type,
        importance_sampling_level=level,
        beta=objective.kl.coef,
        epsilon_low=objective.loss.clip_low,
        # TRL's CISPO bound is the weight's own, ours is what it may exceed 1 by.
        epsilon_high=1 + high if loss_type == "cispo" else high,
    )
    theirs = trl.GRPOTrainer._compute_loss(trainer, None, inputs_of(case))
    compare(ours(case, my_logits, objective), my_logits, theirs, their_logits)


@pytest.mark.parametrize("seed", range(5))
def test_rloo_trainer(seed: int) -> None:
    objective, case = objective_of("rloo"), Case(seed, RLOO_NOISE)
    my_logits, their_logits = (case.logits.clone().requires_grad_() for _ in range(2))
    loss = objective.loss
    trainer = stand_in(case, their_logits, epsilon_low=loss.clip_low, epsilon_high=loss.clip_high)
    theirs = trl.RLOOTrainer._compute_loss(trainer, None, inputs_of(case))
    compare(ours(case, my_logits, objective), my_logits, theirs, their_logits)


@pytest.mark.parametrize("name", [*GRPO_SETTINGS, "rloo"])
def test_the_clips_bind_on_both_sides(name: str) -> None:
    """Otherwise the comparisons above would say nothing about them.

    Counts are over the seeds, of tokens, or of rows where the ratio is a whole output's.
    """
    yaml, overrides, *_, noise = GRPO_SETTINGS.get(name, ("rloo", (), RLOO_NOISE))
    objective, low, high, free = objective_of(yaml, overrides), 0, 0, 0
    clip_low, clip_high = objective.loss.clip_low, objective.loss.clip_high
    assert clip_low is not None and clip_high is not None
    one_sided = objective.loss.fn == "cispo"  # clips the weight from above alone, whatever the advantage
    for seed in range(5):
        case = Case(seed, noise)
        mask, log_ratio = case.mask, case.logprobs(case.logits) - case.old  # [B, T]
        if objective.ratio != "token":
            log_ratio = torch.where(mask, log_ratio, 0.0).sum(1, keepdim=True)  # [B, 1]
            log_ratio = log_ratio / (mask.sum(1, keepdim=True) if objective.ratio == "sequence_mean" else 1)
            mask = mask[:, :1]
        ratio, advantages = log_ratio.exp()[mask], case.advantages[:, None].expand_as(mask)[mask]
        below = (ratio < 1 - clip_low) & (advantages < 0)
        above = (ratio > 1 + clip_high) & ((advantages > 0) | one_sided)
        low, high, free = (
            low + int(below.sum()),
            high + int(above.sum()),
            free + int((~(below | above)).sum()),
        )
    assert high > 3 and free > 3 and (low > 3 or one_sided)


REWARDS = [1.0, 0.0, 0.0, 0.0, 1.2, 0.3, 0.3, 0.7, 0.5, 0.5, 0.5, 0.5]


def advantages_of_a_real_trainer(name: str, folder: Path) -> Tensor:
    """Three prompts, four samples each, from a one-layer model; the reward function ignores the text."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    trainer = getattr(trl, f"{name}Trainer")(
        model=model,
        reward_funcs=lambda **kwargs: REWARDS,
        args=getattr(trl, f"{name}Config")(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            report_to=[],
            beta=0.0,
            per_device_train_batch_size=12,
            num_generations=4,
            max_completion_length=2,
        ),
        train_dataset=Dataset.from_list([{"prompt": p} for p in ("a b", "c d", "e f")]),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
        ),
    )
    inputs = [{"prompt": p} for p in ("a b", "c d", "e f") for _ in range(4)]
    return trainer._generate_and_score_completions(inputs)["advantages"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["GRPO", "RLOO"])
def test_advantages(name: str, tmp_path: Path) -> None:
    theirs = advantages_of_a_real_trainer(name, tmp_path)
    rewards, group_ids = torch.tensor(REWARDS), torch.arange(12) // 4
    if name == "GRPO":
        mine = group_normalized(rewards=rewards, group_ids=group_ids, std="sample", eps=1e-4)
    else:
        mine = rloo(rewards=rewards, group_ids=group_ids)
    assert float(mine[0]) == pytest.approx(1.4997 if name == "GRPO" else 1.0, abs=1e-4)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
