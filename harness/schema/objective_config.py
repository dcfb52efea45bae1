"""The schema of an objective: independent slots, and which of them go together. Imports no torch.

A slot that a run leaves at its default is off and stays outside its `run_id` (see run_config.py).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.schema.advantage_config import COMPARED, AdvantageConfig
from harness.schema.loss_config import Level, LossConfig, TISConfig
from harness.schema.offline_config import OfflineConfig
from harness.schema.reward_config import ProcessRewardModelConfig, RewardConfig, RewardModelConfig
from harness.schema.section import Check, Name, NonNegativeFloat, Section, Used
from harness.schema.slots import (
    KLConfig,
    SelectionConfig,
    UpdatesConfig,
    ValueConfig,
)
from harness.schema.teacher_config import TeacherConfig


class ObjectiveConfig(Section):
    """What a run optimises, one slot a decision."""

    name: Name
    """What tables and run names call the objective."""
    reward: RewardConfig
    """Rewards, and their weights."""
    selection: SelectionConfig
    """Samples that are trained on."""
    advantage: AdvantageConfig
    """How rewards become advantages."""
    ratio: Level
    """pi / pi_old of each token, of the whole output, or the geometric mean over its tokens."""
    loss: LossConfig
    """The policy's loss."""
    kl: KLConfig
    """KL penalty."""
    reduce: Literal["sequence_mean", "token_mean", "sequence_sum", "constant"]
    """How losses of tokens become one number (harness.objectives.reduce)."""
    reduce_over: Literal["all", "accepted", "nonzero"] = "all"
    """Rows in the denominator: all, those with a positive advantage, or those whose advantage is not 0."""
    updates: UpdatesConfig
    """Optimiser steps per rollout batch."""
    offline: OfflineConfig | None = None
    """Sample once before training, or train on the problems' own solutions; null: sample in every step."""
    tis: TISConfig | None = None
    """Correction for a sampler whose logprobs differ from the trainer's; null: none."""
    value: ValueConfig | None = None
    """Critic, for advantage.fn=gae; null: none."""
    teacher: TeacherConfig | None = None
    """Another model to learn from; null: none."""
    reward_model: RewardModelConfig | None = None
    """How the model of reward.model is trained; null: none is."""
    process_reward_model: ProcessRewardModelConfig | None = None
    """How the model of reward.step_model is trained; null: none is."""
    truncated: Literal["keep", "fail", "mask", "drop"] = "keep"
    """An output cut at the length limit keeps its reward, gets fail_reward, has no loss, or is left out."""
    fail_reward: float = 0.0
    """Reward of a truncated output with truncated=fail."""
    entropy_coef: NonNegativeFloat = 0.0
    """Entropy bonus: the loss of each token less this times the policy's entropy there, in nats; 0: none."""
    fp32_head: bool = False
    """Multiply by the output head in float32, in sampling, updates and reference (ScaleRL, arXiv:2510.13786);
    for dtype=bfloat16. Evaluation is not changed."""

    @property
    def asks_teacher(self) -> list[str]:
        """The settings that use a teacher."""
        sampler = self.offline is not None and self.offline.sampler == "teacher"
        return ["offline.sampler"] * sampler + ["kl.reference"] * (self.kl.reference == "teacher")

    @property
    def uses_references(self) -> bool:
        """Whether the problems' own solutions are trained on, so that nothing is sampled."""
        return self.offline is not None and self.offline.sampler == "reference"

    @property
    def credits_tokens(self) -> bool:
        """Whether the tokens of an output may differ in advantage."""
        fn = self.advantage.fn
        return fn in ("gae", "process") or (fn == "reinforce_pp" and self.kl.in_reward)

    @property
    def is_rewarded(self) -> bool:
        """Whether any output or step can earn something."""
        return bool(self.reward.weights or self.fail_reward) or self._rewards_steps

    @property
    def _rewards_steps(self) -> bool:
        return bool(self.reward.steps or self.reward.step_model)

    @property
    def _accepts(self) -> bool:
        """Whether a reward above `advantage.threshold` decides what is trained on."""
        return self.selection.fn == "accepted" or self.advantage.fn == "accepted_only"

    @property
    def reads_threshold(self) -> bool:
        """Whether a reward is compared with `advantage.threshold`."""
        return self._accepts or self.advantage.fn == "signed"

    @property
    def _slot_of_whole_rewards(self) -> str:
        """The slot that looks at the reward of whole outputs, if any."""
        dynamic = self.selection.fn == "dynamic" and self.selection.by == "reward"
        return "truncated=fail" if self.truncated == "fail" else "selection.by=reward" if dynamic else ""

    @property
    def _slot_of_positive(self) -> str:
        """The slot that counts positive advantages alone, if any."""
        accepted = self.reduce_over == "accepted"
        return "loss.fn=nll" if self.loss.fn == "nll" else "reduce_over=accepted" if accepted else ""

    @property
    def _may_be_negative(self) -> bool:
        reward = self.reward
        shrinks = reward.length_penalty > 0 or reward.soft_overlong > 0 or self.kl.in_reward
        return shrinks or self.fail_reward < 0 or any(w < 0 for w in reward.weights.values())

    @property
    def _minibatches_exceed_batch(self) -> bool:
        return self.offline is not None and self.updates.minibatches > self.offline.batch_size

    checks: ClassVar[tuple[Check[ObjectiveConfig], ...]] = (
        # Rewards are used.
        Check(
            lambda c: (c.advantage.fn == "process") != c._rewards_steps,
            "reward.steps={c.reward.steps:g} with advantage.fn={c.advantage.fn}: step rewards go with "
            "advantage.fn=process alone; see conf/objective/grpo_process.yaml",
        ),
        Check(
            lambda c: c.reward.model and c.reward_model is None,
            "reward.model={c.reward.model:g} without reward_model: a learned reward needs both; see "
            "conf/objective/rlhf_ppo.yaml",
        ),
        Check(
            lambda c: c.reward_model is not None and not c.reward.model,
            "reward.model={c.reward.model:g} with reward_model: a learned reward needs both; see "
            "conf/objective/rlhf_ppo.yaml",
        ),
        Check(
            lambda c: c.reward.step_model and c.process_reward_model is None,
            "reward.step_model={c.reward.step_model:g} without process_reward_model: a learned step reward "
            "needs both; see conf/objective/grpo_prm.yaml",
        ),
        Check(
            lambda c: c.process_reward_model is not None and not c.reward.step_model,
            "reward.step_model={c.reward.step_model:g} with process_reward_model: a learned step reward "
            "needs both; see conf/objective/grpo_prm.yaml",
        ),
        Check(
            lambda c: c.fail_reward and c.truncated != "fail",
            "fail_reward={c.fail_reward:g} means nothing with truncated={c.truncated}; set truncated=fail",
        ),
        Check(
            lambda c: c.advantage.fn == "process" and not c.reward.weights and c._slot_of_whole_rewards,
            "{c._slot_of_whole_rewards} with step rewards alone: it is about the reward of whole outputs, "
            "and there is none; set reward.accuracy=1",
        ),
        # Something teaches: a reward, a policy to stay near or to go to, or another model's outputs.
        Check(
            lambda c: not (c.is_rewarded or c.kl.uses_reference or c.offline),
            "reward: every weight is 0, and there is no kl.coef, teacher or offline source either: nothing "
            "can be learned; set reward.accuracy=1",
        ),
        Check(
            lambda c: c._accepts and not c.is_rewarded and c.advantage.threshold >= 0,
            "advantage.threshold={c.advantage.threshold:g} with every reward weight 0: no output can exceed "
            "it; set reward.accuracy=1, or threshold=-1 to accept every output",
        ),
        # Advantages fit rewards, critic and loss.
        Check(
            lambda c: c.advantage.fn == "max_rl" and c._may_be_negative,
            "advantage.fn=max_rl needs rewards >= 0; set length_penalty and soft_overlong to 0, use no "
            "negative weight or fail_reward, and kl.placement=loss",
        ),
        Check(
            lambda c: c.advantage.fn == "gae" and c.value is None,
            "advantage.fn=gae without a value model; set value (shared_trunk, gamma, lam, coef) as "
            "conf/objective/ppo.yaml does, or use advantage.fn=group_centered",
        ),
        Check(
            lambda c: c.value is not None and c.advantage.fn != "gae",
            "value: a value model that advantage.fn={c.advantage.fn} does not ask for; set value=null or "
            "advantage.fn=gae",
        ),
        Check(
            lambda c: c.advantage.threshold and not c.reads_threshold,
            "advantage.threshold={c.advantage.threshold:g} means nothing to advantage.fn={c.advantage.fn} "
            "with selection.fn={c.selection.fn}; set 0, or selection.fn=accepted",
        ),
        Check(
            lambda c: c.advantage.sign == "negative" and c._slot_of_positive,
            "advantage.sign=negative with {c._slot_of_positive}, which counts positive advantages alone; "
            "set both",
        ),
        # Samples fit advantages.
        Check(
            lambda c: (
                c.advantage.fn == "process" and (c.kl.in_reward or c.offline or c.selection.fn == "accepted")
            ),
            "advantage.fn=process takes no kl.placement=reward, offline or selection.fn=accepted; set loss, "
            "null and all",
        ),
        Check(
            lambda c: c.advantage.fn in ("gae", "reinforce_pp") and c.selection.fn == "accepted",
            "selection.fn=accepted with advantage.fn={c.advantage.fn}, whose advantages come from every "
            "output; set all",
        ),
        Check(
            lambda c: c.kl.in_reward and c.truncated == "mask" and c.advantage.fn in (*COMPARED, "custom"),
            "truncated=mask with kl.placement=reward and advantage.fn={c.advantage.fn}: a masked output has "
            "no KL, so its reward in the group's baseline would be without the penalty; set truncated=keep, "
            "or kl.placement=loss",
        ),
        Check(
            lambda c: c.kl.in_reward and c._accepts,
            "kl.placement=reward with samples accepted by their reward: the KL would decide what is right; "
            "use kl.placement=loss",
        ),
        # KL, ratio and loss.
        Check(
            lambda c: c.kl.reference is None and c.kl.uses_reference,
            "kl.coef={c.kl.coef:g} with kl.reference=null: a KL is to some policy; set reference=base, "
            "against=old or coef=0",
        ),
        Check(
            lambda c: c.loss.fn in ("nll", "policy_gradient") and c.ratio != "token",
            "ratio={c.ratio} means nothing to loss.fn={c.loss.fn}, which has none; set token, or "
            "loss.fn=surrogate",
        ),
        Check(
            lambda c: c.loss.fn == "gmpo" and c.ratio != "token",
            "ratio={c.ratio} with loss.fn=gmpo, which takes the mean over an output itself; set token",
        ),
        # The teacher is asked for and given.
        Check(
            lambda c: c.asks_teacher and c.teacher is None,
            "{c.asks_teacher[0]}=teacher without one; give a model folder, objective.teacher.path="
            "/folder/checkpoints/step_000024, or a model, objective.teacher.model=ladder_l",
        ),
        Check(
            lambda c: c.teacher is not None and not c.asks_teacher,
            "teacher={c.teacher.named}: nothing asks for one; set offline.sampler=teacher or "
            "kl.reference=teacher, or teacher=null",
        ),
        # Offline training.
        Check(
            lambda c: c.offline and c.advantage.fn in (*COMPARED, "reinforce_pp", "custom"),
            "advantage.fn={c.advantage.fn} with offline: accepted samples are trained on without those they "
            "would be compared with; use accepted_only",
        ),
        Check(
            lambda c: c.offline and c.value is not None,
            "value with offline: GAE needs samples of the current policy; set offline=null",
        ),
        Check(
            lambda c: c.offline and c.tis is not None,
            "tis with offline: the samples stay those of the base; set tis=null",
        ),
        Check(
            lambda c: c.offline and c.selection.fn != "accepted",
            "selection.fn={c.selection.fn} with offline, which trains on accepted samples and never samples "
            "anew; use accepted (advantage.threshold=-1 accepts every output)",
        ),
        Check(
            lambda c: c.offline and c.reduce_over == "all",
            "reduce_over=all with offline: rejected samples are in no batch; use accepted",
        ),
        Check(
            lambda c: c._minibatches_exceed_batch,
            "updates.minibatches={c.updates.minibatches} exceeds offline.batch_size="
            "{c.offline.batch_size}; lower it",
        ),
    )

    used: ClassVar[tuple[Used[ObjectiveConfig], ...]] = (
        Used(
            ("fp32_head",),
            lambda c, run: run.dtype == "bfloat16" and run.rollout.engine == "native",
            "float32 does it already and vLLM never (dtype={run.dtype}, engine={run.rollout.engine}); leave "
            "it out, or set dtype=bfloat16 and engine=native",
        ),
        Used(
            ("truncated",),
            lambda c, run: not c.uses_references,
            "reference solutions are never cut: those that are too long are left out",
            warn=True,
        ),
    )
