"""The schema of an objective: independent slots, and which of them go together. Imports no torch.

A slot that a run leaves at its default is off and stays outside its `run_id` (see config.py).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from harness.section import Name, Section
from harness.slots import (
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
    """`truncated`: what an output cut at the length limit gets (harness/select.py); fail: `fail_reward`."""

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
        fn, reward = self.advantage.fn, self.reward
        if fn == "max_rl" and self._may_be_negative():
            raise ValueError(
                "advantage.fn=max_rl needs rewards >= 0; set length_penalty and soft_overlong to 0, use no "
                "negative weight or fail_reward, and kl.placement=loss"
            )
        if fn == "gae" and self.value is None:
            raise ValueError(
                "advantage.fn=gae without a value model; set value (shared_trunk, gamma, lam, coef) as "
                "conf/objective/ppo.yaml does, or use advantage.fn=group_centered"
            )
        if self.value is not None and fn != "gae":
            raise ValueError(
                f"value: a value model that advantage.fn={fn} does not ask for; set value=null or "
                "advantage.fn=gae"
            )
        if self.asks_teacher and self.teacher is None:
            raise ValueError(
                f"{self.asks_teacher[0]}=teacher without one; give a model folder: "
                "objective.teacher.path=/folder/checkpoints/step_000024"
            )
        if self.teacher is not None and not self.asks_teacher:
            raise ValueError(
                f"teacher.path={self.teacher.path}: a teacher that nothing asks for; set "
                "offline.sampler=teacher or kl.reference=teacher, or teacher=null"
            )
        if (fn == "process") != bool(reward.steps or reward.step_model):
            raise ValueError(
                f"reward.steps={reward.steps:g} with advantage.fn={fn}: step rewards go with "
                "advantage.fn=process alone; see conf/objective/grpo_process.yaml"
            )
        if fn == "process" and (self.kl.in_reward or self.offline or self.selection.fn == "accepted"):
            raise ValueError(
                "advantage.fn=process takes no kl.placement=reward, offline or selection.fn=accepted; set "
                "loss, null and all"
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
        if self.kl.in_reward and (self.selection.fn == "accepted" or fn == "accepted_only"):
            raise ValueError(
                "kl.placement=reward with samples accepted by their reward: the KL would decide what is "
                "right; use kl.placement=loss"
            )
        self._offline_fits()
        return self

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
        if self.tis is not None:
            raise ValueError("tis with offline: the samples stay those of the base; set tis=null")
        if self.selection.fn == "dynamic":
            raise ValueError("selection.fn=dynamic with offline: nothing is sampled anew; use accepted")
        if self.value is not None:
            raise ValueError("value with offline: GAE needs samples of the current policy; set offline=null")


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
    if kl.in_loss and kl.estimator == "k1":
        found.append(
            "objective.kl: k1 as a loss has an expected gradient of zero; use k2 or k3, or placement=reward"
        )
    if objective.ratio == "sequence" and objective.reduce != "sequence_mean":
        found.append(
            f"objective.ratio=sequence with reduce={objective.reduce}: each token carries its whole output's "
            "term, which weights it by length; use reduce=sequence_mean"
        )
    return found
