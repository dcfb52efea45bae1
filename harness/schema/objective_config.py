"""The schema of an objective: independent slots, and which of them go together. Imports no torch.

A slot that a run leaves at its default is off and stays outside its `run_id` (see config.py).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from harness.schema.section import Name, Section
from harness.schema.slots import (
    CLIPPED,
    COMPARED,
    AdvantageConfig,
    KLConfig,
    Level,
    LossConfig,
    OfflineConfig,
    ProcessRewardModelConfig,
    RewardConfig,
    RewardModelConfig,
    SelectionConfig,
    TeacherConfig,
    TISConfig,
    UpdatesConfig,
    ValueConfig,
)


class ObjectiveConfig(Section):
    """`truncated`: what an output cut at the length limit gets (harness.objectives.selection)."""

    name: Name
    reward: RewardConfig
    selection: SelectionConfig
    advantage: AdvantageConfig
    ratio: Level
    loss: LossConfig
    kl: KLConfig
    reduce: Literal["sequence_mean", "token_mean", "sequence_sum", "constant"]
    reduce_over: Literal["all", "accepted", "nonzero"] = "all"
    updates: UpdatesConfig
    offline: OfflineConfig | None = None
    tis: TISConfig | None = None
    value: ValueConfig | None = None
    teacher: TeacherConfig | None = None
    reward_model: RewardModelConfig | None = None
    process_reward_model: ProcessRewardModelConfig | None = None
    truncated: Literal["keep", "fail", "mask", "drop"] = "keep"
    fail_reward: float = 0.0

    @property
    def asks_teacher(self) -> list[str]:
        """The settings that use a teacher."""
        sampler = self.offline is not None and self.offline.sampler == "teacher"
        return ["offline.sampler"] * sampler + ["kl.reference"] * (self.kl.reference == "teacher")

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        for check in (
            self._rewards_are_used,
            self._something_teaches,
            self._advantages_fit,
            self._samples_fit,
            self._loss_fits,
            self._teacher_fits,
            self._offline_fits,
        ):
            check()
        return self

    def _rewards_are_used(self) -> None:
        fn, reward = self.advantage.fn, self.reward
        if (fn == "process") != self._rewards_steps:
            raise ValueError(
                f"reward.steps={reward.steps:g} with advantage.fn={fn}: step rewards go with "
                "advantage.fn=process alone; see conf/objective/grpo_process.yaml"
            )
        if (self.reward_model is not None) != bool(reward.model):
            raise ValueError(
                f"reward.model={reward.model:g} {'without' if reward.model else 'with'} reward_model: a "
                "learned reward needs both; see conf/objective/rlhf_ppo.yaml"
            )
        if (self.process_reward_model is not None) != bool(reward.step_model):
            raise ValueError(
                f"reward.step_model={reward.step_model:g} {'without' if reward.step_model else 'with'} "
                "process_reward_model: a learned step reward needs both; see conf/objective/grpo_prm.yaml"
            )
        if self.fail_reward and self.truncated != "fail":
            raise ValueError(
                f"fail_reward={self.fail_reward:g} means nothing with truncated={self.truncated}; "
                "set truncated=fail"
            )
        if fn == "process" and not reward.weights and (self.truncated == "fail" or self._dynamic_by_reward):
            slot = "truncated=fail" if self.truncated == "fail" else "selection.by=reward"
            raise ValueError(
                f"{slot} with step rewards alone: it is about the reward of whole outputs, and there is "
                "none; set reward.accuracy=1"
            )

    def _something_teaches(self) -> None:
        """Some reward, or a policy to stay near or to go to, or another's outputs."""
        if not (self.is_rewarded or self.kl.uses_reference or self.offline):
            raise ValueError(
                "reward: every weight is 0, and there is no kl.coef, teacher or offline source either: "
                "nothing can be learned; set reward.accuracy=1"
            )
        if self._accepts and not self.is_rewarded and self.advantage.threshold >= 0:
            raise ValueError(
                f"advantage.threshold={self.advantage.threshold:g} with every reward weight 0: no output can "
                "exceed it; set reward.accuracy=1, or threshold=-1 to accept every output"
            )

    def _advantages_fit(self) -> None:
        slot = self.advantage
        if slot.fn == "max_rl" and self._may_be_negative():
            raise ValueError(
                "advantage.fn=max_rl needs rewards >= 0; set length_penalty and soft_overlong to 0, use no "
                "negative weight or fail_reward, and kl.placement=loss"
            )
        if slot.fn == "gae" and self.value is None:
            raise ValueError(
                "advantage.fn=gae without a value model; set value (shared_trunk, gamma, lam, coef) as "
                "conf/objective/ppo.yaml does, or use advantage.fn=group_centered"
            )
        if self.value is not None and slot.fn != "gae":
            raise ValueError(
                f"value: a value model that advantage.fn={slot.fn} does not ask for; set value=null or "
                "advantage.fn=gae"
            )
        if slot.threshold and not self._accepts:
            raise ValueError(
                f"advantage.threshold={slot.threshold:g} means nothing to advantage.fn={slot.fn} with "
                f"selection.fn={self.selection.fn}; set 0, or selection.fn=accepted"
            )
        if slot.sign == "negative" and (self.loss.fn == "nll" or self.reduce_over == "accepted"):
            where = "loss.fn=nll" if self.loss.fn == "nll" else "reduce_over=accepted"
            raise ValueError(
                f"advantage.sign=negative with {where}, which counts positive advantages alone; set both"
            )

    def _samples_fit(self) -> None:
        fn, accepts = self.advantage.fn, self.selection.fn == "accepted"
        if fn == "process" and (self.kl.in_reward or self.offline or accepts):
            raise ValueError(
                "advantage.fn=process takes no kl.placement=reward, offline or selection.fn=accepted; set "
                "loss, null and all"
            )
        if fn in ("gae", "reinforce_pp") and accepts:
            raise ValueError(
                f"selection.fn=accepted with advantage.fn={fn}, whose advantages come from every output; set "
                "all"
            )
        if self.kl.in_reward and self.truncated == "mask" and fn in COMPARED:
            raise ValueError(
                f"truncated=mask with kl.placement=reward and advantage.fn={fn}: a masked output has no KL, "
                "so its reward in the group's baseline would be without the penalty; set truncated=keep, or "
                "kl.placement=loss"
            )
        if self.kl.in_reward and self._accepts:
            raise ValueError(
                "kl.placement=reward with samples accepted by their reward: the KL would decide what is "
                "right; use kl.placement=loss"
            )

    def _loss_fits(self) -> None:
        if self.kl.reference is None and self.kl.uses_reference:
            raise ValueError(
                f"kl.coef={self.kl.coef:g} with kl.reference=null: a KL is to some policy; "
                "set reference=base, against=old or coef=0"
            )
        if self.loss.fn in ("nll", "policy_gradient") and self.ratio != "token":
            raise ValueError(
                f"ratio={self.ratio} means nothing to loss.fn={self.loss.fn}, which has none; set token, or "
                "loss.fn=surrogate"
            )

    def _teacher_fits(self) -> None:
        if self.asks_teacher and self.teacher is None:
            raise ValueError(
                f"{self.asks_teacher[0]}=teacher without one; give a model folder, objective.teacher.path="
                "/folder/checkpoints/step_000024, or objective.teacher.pretrain_steps=2400"
            )
        if self.teacher is not None and not self.asks_teacher:
            raise ValueError(
                f"teacher={self.teacher.path or self.teacher.pretrain_steps}: nothing asks for one; set "
                "offline.sampler=teacher or kl.reference=teacher, or teacher=null"
            )

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
    def _dynamic_by_reward(self) -> bool:
        return self.selection.fn == "dynamic" and self.selection.by == "reward"

    def _may_be_negative(self) -> bool:
        reward = self.reward
        shrinks = reward.length_penalty > 0 or reward.soft_overlong > 0 or self.kl.in_reward
        return shrinks or self.fail_reward < 0 or any(w < 0 for w in reward.weights.values())

    def _offline_fits(self) -> None:
        if self.offline is None:
            return
        if self.advantage.fn in (*COMPARED, "reinforce_pp"):
            raise ValueError(
                f"advantage.fn={self.advantage.fn} with offline: accepted samples are trained on without "
                "those they would be compared with; use accepted_only"
            )
        if self.value is not None:
            raise ValueError("value with offline: GAE needs samples of the current policy; set offline=null")
        if self.tis is not None:
            raise ValueError("tis with offline: the samples stay those of the base; set tis=null")
        if self.selection.fn != "accepted":
            raise ValueError(
                f"selection.fn={self.selection.fn} with offline, which trains on accepted samples and never "
                "samples anew; use accepted (advantage.threshold=-1 accepts every output)"
            )
        if self.reduce_over == "all":
            raise ValueError("reduce_over=all with offline: rejected samples are in no batch; use accepted")
        if self.updates.minibatches > self.offline.batch_size:
            raise ValueError(
                f"updates.minibatches={self.updates.minibatches} exceeds offline.batch_size="
                f"{self.offline.batch_size}; lower it"
            )


def doubts(objective: ObjectiveConfig) -> list[str]:
    """Settings that run but cannot do what their names say."""
    found = []
    kl, value = objective.kl, objective.value
    if objective.updates.epochs * objective.updates.minibatches == 1:
        once = "with one update per rollout batch the ratio is 1 and"
        more = "set objective.updates.epochs or minibatches above 1"
        if objective.loss.fn in CLIPPED:
            found.append(f"objective.loss: {once} the clip can never bind; {more} to study clipping")
        if kl.in_loss and kl.against == "old":
            found.append(f"objective.kl: {once} KL(old || policy) has no gradient; {more}")
        if value is not None and value.clip is not None:
            found.append(f"objective.value.clip: {once} values are those it clips around; {more}")
    if not objective.is_rewarded and kl.uses_reference and kl.reference == "base":
        found.append(
            "objective.reward: every weight is 0 and the policy starts at the reference, so the KL has "
            "nothing to undo; set objective.reward.accuracy=1"
        )
    low = objective.loss.clip_low
    if objective.loss.fn == "ppo_clip" and low is not None and low >= 1:
        found.append(
            f"objective.loss.clip_low={low:g}: a ratio is never below 0, so the lower clip can never bind; "
            "use 0.2, or loss.fn=surrogate for none"
        )
    if kl.in_loss and kl.estimator == "k1" and kl.against == "ref":
        found.append(
            "objective.kl: k1 as a loss has an expected gradient of zero; use k2 or k3, or placement=reward"
        )
    if objective.loss.fn == "nll" and objective.advantage.fn != "accepted_only":
        found.append(
            f"objective.loss.fn=nll with advantage.fn={objective.advantage.fn}: it trains on outputs with a "
            "positive advantage, however large; use accepted_only, or loss.fn=policy_gradient"
        )
    if objective.ratio != "token" and objective.loss.fn == "ppo_clip" and objective.credits_tokens:
        found.append(
            f"objective.ratio={objective.ratio} with advantages of each token (advantage.fn="
            f"{objective.advantage.fn}): the clip is taken token by token, min(r A_t, clip(r) A_t), not of "
            "the output's mean advantage; use ratio=token, or an advantage of whole outputs such as rloo"
        )
    if objective.ratio == "sequence" and objective.reduce != "sequence_mean":
        found.append(
            f"objective.ratio=sequence with reduce={objective.reduce}: each token carries its whole output's "
            "term, which weights it by length; use reduce=sequence_mean"
        )
    return found
