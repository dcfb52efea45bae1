"""One optimiser step of verl and of this project on the same tensors, for the conformance tests.

verl is imported inside functions: where it is not installed the tests are skipped before they call one.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.objectives.kl import token_rewards
from harness.objectives.policy_loss import KLPenalty, SamplerCorrection, policy_loss
from harness.objectives.reduce import denominator, reduce
from harness.schema.run_config import RunConfig
from harness.training.verl.compile import Places, verl_config
from harness.types import Batch

REASON = "no verl here: pip install '.[verl]'"
ON_VERL = (
    "trainer.engine=verl",
    "dtype=bfloat16",
    "device=cuda",
    "trainer.verl.gpus=2",
    "objective.updates.minibatches=1",
    "rollout.step_metrics=false",
)
GROUPS, SIZE, LONGEST = 5, 4, 7
ROWS = GROUPS * SIZE


def places(work: Path) -> Places:
    return Places(work=work, start=work / "start", metrics=work / "metrics-000.jsonl", root=Path.cwd())


class Step:
    """A ragged rollout batch: equal and unequal rewards, rows of the groups in a random order."""

    def __init__(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        rewards = torch.randint(0, 2, (GROUPS, SIZE), generator=g) * 1.2
        rewards[0], rewards[1] = 1.2, 0.0  # groups of equal rewards
        order = torch.randperm(ROWS, generator=g)
        self.rewards = rewards.flatten()[order]  # [B]
        self.group_ids = torch.arange(GROUPS).repeat_interleave(SIZE)[order]  # [B]
        self.lengths = torch.randint(1, LONGEST + 1, (ROWS,), generator=g)
        self.lengths[0] = LONGEST
        self.mask = torch.arange(LONGEST) < self.lengths[:, None]  # [B, T]

        def inside(x: Tensor) -> Tensor:
            return torch.where(self.mask, x, 0.0)

        draw = [torch.randn(ROWS, LONGEST, generator=g) for _ in range(5)]
        self.logprobs = inside(draw[0] - 3)
        self.old = inside(self.logprobs + 0.4 * draw[1])
        self.ref = inside(self.logprobs + 0.4 * draw[2])
        self.sampler = inside(self.old + 0.4 * draw[3])
        self.entropy = inside(draw[4].abs())
        self.advantages = inside(torch.randn(ROWS, 1, generator=g).expand(ROWS, LONGEST))
        self.advantages[3] = 0.0

    @property
    def uids(self) -> np.ndarray:
        names = [f"{(7 * i) % 5}-group-{i}" for i in range(GROUPS)]  # not in the order of their numbers
        return np.array([names[i] for i in self.group_ids.tolist()], dtype=object)

    def at_last_token(self) -> Tensor:
        zeros = torch.zeros(ROWS, LONGEST)
        return token_rewards(rewards=self.rewards, kl=zeros, completion_mask=self.mask, coef=0.0)

    def data(self) -> Any:
        """The batch as verl's trainer has it when it makes advantages."""
        from verl.protocol import DataProto

        found = DataProto.from_single_dict(
            {"token_level_scores": self.at_last_token(), "response_mask": self.mask.long()}
        )
        found.batch["old_log_probs"], found.batch["ref_log_prob"] = self.old, self.ref
        found.batch["token_level_rewards"] = found.batch["token_level_scores"]
        found.non_tensor_batch["uid"] = self.uids
        return found

    def batch(self) -> Batch:
        zeros = torch.zeros(ROWS, LONGEST)
        return Batch(
            input_ids=zeros.long(),
            completion_mask=self.mask.long(),
            sampler_logprobs=self.sampler,
            old_logprobs=self.old,
            advantages=zeros,
            group_ids=self.group_ids,
            lengths=self.lengths,
            prompt_ids=self.group_ids,
            prompt_lengths=torch.zeros(ROWS, dtype=torch.long),
            rewards=self.rewards,
            ref_logprobs=self.ref,
        )


def ragged(x: Tensor, lengths: Tensor) -> Tensor:
    rows = [row[:n] for row, n in zip(x, lengths.tolist(), strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def verl_step(
    step: Step, config: RunConfig, logprobs: Tensor, *, kl: bool = False, tis: bool = False
) -> Tensor:
    """The loss of a whole optimiser step as verl's workers take it, in four microbatches."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.losses import ppo_loss

    objective = config.objective
    made = verl_config(config, places(Path("/nowhere")), longest_prompt=1)
    actor = made["actor_rollout_ref"]["actor"]
    settings = SimpleNamespace(
        global_batch_info={},
        loss_agg_mode=actor["loss_agg_mode"],
        loss_scale_factor=actor["loss_scale_factor"],
        policy_loss={"loss_mode": actor["policy_loss"]["loss_mode"]},
        entropy_coeff=actor["entropy_coeff"],
        use_kl_loss=actor["use_kl_loss"],
        kl_loss_type=actor["kl_loss_type"],
        kl_loss_coef=actor["kl_loss_coef"],
    )
    assert settings.use_kl_loss == kl
    total = torch.zeros(())
    for rows in torch.arange(ROWS).split(ROWS // 4):
        lengths = step.lengths[rows]
        fields = {
            "prompts": ragged(torch.ones(len(rows), 1), torch.ones_like(lengths)),
            "responses": ragged(step.mask[rows].float(), lengths),
            "response_mask": ragged(step.mask[rows].long(), lengths),
            "old_log_probs": ragged(step.old[rows], lengths),
            "advantages": ragged(step.advantages[rows], lengths),
        }
        if kl:
            fields["ref_log_prob"] = ragged(step.ref[rows], lengths)
        if tis:
            fields["rollout_is_weights"] = ragged(verl_weights(step, config)[rows], lengths)
        data = TensorDict(fields, batch_size=len(rows))
        tu.assign_non_tensor(
            data,
            dp_size=1,
            batch_num_tokens=int(step.mask.sum()),
            global_batch_size=ROWS,
            max_response_len=int(lengths.max()),
        )
        # A model's output has a place for each token of prompt and completion; one predicts the next.
        flat = [torch.cat([logprobs[r, : step.lengths[r]], torch.zeros(1)]) for r in rows.tolist()]
        entropy = [torch.cat([step.entropy[r, : step.lengths[r]], torch.zeros(1)]) for r in rows.tolist()]
        output = {"log_probs": torch.cat(flat), "entropy": torch.cat(entropy)}
        if not objective.entropy_coef:
            del output["entropy"]
        total = total + ppo_loss(settings, output, data)[0]
    return total


def verl_weights(step: Step, config: RunConfig) -> Tensor:
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights

    made = verl_config(config, places(Path("/nowhere")), longest_prompt=1)["algorithm"]
    weights, _ = compute_rollout_correction_weights(
        step.old - step.sampler, step.mask.float(), **made["rollout_correction"]
    )
    return weights


def our_step(step: Step, config: RunConfig, logprobs: Tensor) -> Tensor:
    """This project's loss in the same microbatches: a vectorised function rounds by a tensor's shape."""
    objective, longest = config.objective, config.rollout.max_new_tokens
    kl, tis = objective.kl, objective.tis
    divisor = denominator(kind=objective.reduce, completion_mask=step.mask, constant=longest)
    total = torch.zeros(())
    for rows in torch.arange(ROWS).split(ROWS // 4):
        width = int(step.lengths[rows].max())

        def part(x: Tensor, rows: Tensor = rows, width: int = width) -> Tensor:
            return x[rows, :width]

        output = policy_loss(
            loss=objective.loss.fn,
            loss_params=objective.loss.params,
            ratio=objective.ratio,
            logprobs=part(logprobs),
            old_logprobs=part(step.old),
            advantages=part(step.advantages),
            completion_mask=part(step.mask),
            sampler_logprobs=part(step.sampler),
            ref_logprobs=part(step.ref),
            kl=KLPenalty(kl.estimator, kl.coef, kl.against) if kl.in_loss else None,
            tis=None if tis is None else SamplerCorrection(tis.cap, tis.level),
        )
        loss = output.loss - objective.entropy_coef * part(step.entropy)
        total = total + reduce(
            loss=loss, completion_mask=part(step.mask), kind=objective.reduce, denominator=divisor
        )
    return total


def differences(step: Step, config: RunConfig, **given: bool) -> tuple[float, float, float]:
    """(loss, gradient, largest gradient): by how much verl's differ from ours."""
    mine, theirs = (step.logprobs.clone().requires_grad_() for _ in range(2))
    ours, other = our_step(step, config, mine), verl_step(step, config, theirs, **given)
    ours.backward()
    other.backward()
    assert mine.grad is not None and theirs.grad is not None
    off = float((mine.grad - theirs.grad).abs().max())
    return abs(float(ours.detach() - other.detach())), off, float(mine.grad.abs().max())
