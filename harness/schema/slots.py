"""The schema of each slot of an objective, with what a slot alone can get wrong. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.schema.section import NonNegativeFloat, Positive, PositiveFloat, Section, Share

Level = Literal["token", "sequence", "sequence_mean"]
CLIPPED = ("ppo_clip", "cispo")
COMPARED = ("group_normalized", "group_centered", "rloo", "max_rl", "process")


class RewardConfig(Section):
    """Weights of the rewards, which are summed, and their parameters. Controls: `random`, `inverted`.

    `model` is a learned reward model's probability that the output is right; `steps` what a right arithmetic
    statement earns at its last token (a wrong one: 0), `step_model` the weight of a learned process reward
    model's probability there; these two are for advantage.fn=process.

    `random_p` is the share of random rewards that are 1; `overlong_buffer` the tokens before
    `rollout.max_new_tokens` over which the soft overlong reward falls to -1 (null: a fifth of it).
    """

    accuracy: float
    format_r1: float = 0.0
    length_penalty: float = 0.0
    soft_overlong: float = 0.0
    random: float = 0.0
    inverted: float = 0.0
    model: float = 0.0
    steps: float = 0.0
    step_model: float = 0.0
    random_p: Share = 0.5
    overlong_buffer: Positive | None = None

    @property
    def weights(self) -> dict[str, float]:
        """The rewards of whole outputs that count, by name."""
        others = {"random_p", "overlong_buffer", "steps", "step_model"}
        return {name: w for name, w in self.model_dump(exclude=others).items() if w}

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.random_p != 0.5 and not self.random:
            raise ValueError(f"random_p={self.random_p:g} means nothing with random=0; set random=1")
        if self.overlong_buffer is not None and not self.soft_overlong:
            raise ValueError(
                f"overlong_buffer={self.overlong_buffer} means nothing with soft_overlong=0; "
                "set soft_overlong=1"
            )
        return self


class SelectionConfig(Section):
    """Which samples train.

    all       every one
    accepted  rewards above advantage.threshold, at most `cap_per_problem` of each problem (null: any number);
              with `dedupe`, of a problem's outputs with the same tokens the first alone
    dynamic   groups that differ `by` reward or by accuracy; others are replaced by freshly sampled problems,
              with at most `max_sampled` × rollout.prompts_per_step problems sampled in a step (DAPO)
    """

    fn: Literal["all", "accepted", "dynamic"]
    cap_per_problem: Positive | None = None
    dedupe: bool = False
    by: Literal["reward", "accuracy"] = "reward"
    max_sampled: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.fn == "dynamic" and self.max_sampled is None:
            raise ValueError("max_sampled=null with fn=dynamic; give its limit, such as max_sampled=3")
        if self.fn != "dynamic" and self.max_sampled is not None:
            raise ValueError(f"max_sampled={self.max_sampled:g} means nothing to fn={self.fn}; set null")
        if self.fn != "dynamic" and self.by != "reward":
            raise ValueError(f"by={self.by} means nothing to fn={self.fn}; leave it out, or use fn=dynamic")
        if self.fn != "accepted" and (self.cap_per_problem is not None or self.dedupe):
            raise ValueError(f"cap_per_problem and dedupe mean nothing to fn={self.fn}; use fn=accepted")
        return self


class AdvantageConfig(Section):
    """`threshold` is what a reward must exceed to be accepted; `eps` is added to a std.

    `sign` keeps advantages above 0 alone, or below 0 alone; the others become 0, and their rows still count.
    """

    fn: Literal[
        "accepted_only",
        "raw_reward",
        "group_centered",
        "group_normalized",
        "rloo",
        "reinforce_pp",
        "max_rl",
        "gae",
        "process",
    ]
    std: Literal["none", "sample", "population"] = "none"
    eps: NonNegativeFloat = 0.0
    threshold: float = 0.0
    sign: Literal["both", "positive", "negative"] = "both"

    @property
    def params(self) -> dict[str, Any]:
        """The keywords that `fn` takes beside rewards and group_ids."""
        takes = {"accepted_only": ["threshold"], "group_normalized": ["std", "eps"]}
        return {name: getattr(self, name) for name in takes.get(self.fn, [])}

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.fn not in ("group_normalized", "process") and self.std != "none":
            eps = ", and eps=0" if self.eps and self.fn != "reinforce_pp" else ""
            raise ValueError(f"std={self.std} means nothing to fn={self.fn}; set none{eps}")
        divides = self.fn == "reinforce_pp" or self.std != "none"
        if self.eps and not divides:
            raise ValueError(f"eps={self.eps:g} means nothing to fn={self.fn} with std=none; set eps=0")
        if self.fn == "accepted_only" and self.sign != "both":
            raise ValueError(f"sign={self.sign} with fn=accepted_only, whose advantages are 1 or 0; set both")
        return self


class LossConfig(Section):
    fn: Literal["nll", "policy_gradient", "surrogate", "ppo_clip", "cispo"]
    clip_low: PositiveFloat | None = None
    clip_high: PositiveFloat | None = None
    dual_clip: Annotated[float, Field(gt=1)] | None = None

    @property
    def params(self) -> dict[str, float | None]:
        """The keywords that `fn` takes beside its tensors."""
        takes = {"ppo_clip": ["clip_low", "clip_high", "dual_clip"], "cispo": ["clip_low", "clip_high"]}
        return {name: getattr(self, name) for name in takes.get(self.fn, [])}

    @model_validator(mode="after")
    def _used(self) -> Self:
        clips = (self.clip_low, self.clip_high)
        if self.fn in CLIPPED and None in clips:
            raise ValueError(f"fn={self.fn} needs clip_low and clip_high; 0.2 is PPO's for both")
        if self.fn not in CLIPPED and clips != (None, None):
            raise ValueError(f"clip_low, clip_high mean nothing to fn={self.fn}; set null")
        if self.fn != "ppo_clip" and self.dual_clip is not None:
            raise ValueError(f"dual_clip={self.dual_clip:g} means nothing to fn={self.fn}; set null")
        return self


class TISConfig(Section):
    """Truncated importance sampling: every loss is weighed by min(pi_old / pi_sampler, cap)."""

    cap: PositiveFloat
    level: Level


class KLConfig(Section):
    """A KL penalty. `coef` 0 means none; KL to the base is measured in every arm all the same.

    against    ref: KL(policy || reference) | old: KL(sampling policy || policy), PPO's penalty
    reference  the base | the teacher: with estimator exact, on-policy distillation
    placement  loss: a term of the loss | reward: -coef × KL in the reward, of each token where advantages
               are a token's own (gae, reinforce_pp), else of the whole output
    target     adapts the coefficient to this KL, nats a token: PPO's rule (× 2 or / 2), or with `horizon`
               (samples) InstructGPT's proportional one
    refresh_every  the reference becomes the current policy every so many steps; null: it stays
    """

    estimator: Literal["k1", "k2", "k3", "exact"] = "k3"
    placement: Literal["loss", "reward"] = "loss"
    coef: NonNegativeFloat = 0.0
    against: Literal["ref", "old"] = "ref"
    target: PositiveFloat | None = None
    horizon: Positive | None = None
    refresh_every: Positive | None = None
    reference: Literal["base", "teacher"] | None = "base"

    @property
    def uses_reference(self) -> bool:
        return self.coef > 0 and self.against == "ref"

    @property
    def in_loss(self) -> bool:
        return self.coef > 0 and self.placement == "loss"

    @property
    def in_reward(self) -> bool:
        return self.coef > 0 and self.placement == "reward"

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.against == "old" and self.placement == "reward":
            raise ValueError("placement=reward with against=old: it is 0 at sampling; use placement=loss")
        if self.against == "old" and self.estimator == "exact":
            raise ValueError(
                "estimator=exact with against=old needs the old policy's whole distributions; use k3, "
                "which is unbiased there in value and gradient"
            )
        if self.target is not None and not self.coef:
            raise ValueError(f"target={self.target:g} with coef=0: 0 cannot adapt; start with coef=1")
        if self.horizon is not None and self.target is None:
            raise ValueError(f"horizon={self.horizon} means nothing without target; set target or null")
        if self.reference == "teacher" and (not self.uses_reference or self.refresh_every is not None):
            raise ValueError(
                "reference=teacher needs coef above 0, against=ref and refresh_every=null: the teacher stays"
            )
        if self.refresh_every is not None and not self.uses_reference:
            raise ValueError(
                f"refresh_every={self.refresh_every} with no reference in use; set coef above 0 and "
                "against=ref"
            )
        return self


class ValueConfig(Section):
    """The critic: GAE(gamma, lam), and its loss `coef` × (V - return)² / 2, with V held within ±`clip`.

    shared_trunk  a head on the policy's own states, else a model of its own that starts as the base
    lr_scale      the critic's learning rate as a multiple of trainer.lr
    whiten        advantages get mean 0 and std 1 over the batch's tokens
    """

    shared_trunk: bool
    gamma: Share
    lam: Share
    coef: PositiveFloat
    clip: PositiveFloat | None = None
    lr_scale: PositiveFloat = 1.0
    whiten: bool = False


class UpdatesConfig(Section):
    """Optimiser steps per rollout batch = `epochs` × `minibatches`; old_logprobs stay fixed."""

    epochs: Positive
    minibatches: Positive


class OfflineConfig(Section):
    """Sample everything once, then train: passes over the accepted set, rows a batch."""

    epochs: Positive
    batch_size: Positive
    sampler: Literal["base", "teacher"] = "base"


class RewardModelConfig(Section):
    """A classifier of right outputs: the base with a head, trained on its own graded samples (BCE).

    `num_problems` of the training set, rollout.group_size samples each; every fifth problem is held out.
    """

    num_problems: Annotated[int, Field(ge=2)]
    epochs: Positive
    batch_size: Positive
    lr: PositiveFloat


class ProcessRewardModelConfig(RewardModelConfig):
    """A classifier of the steps of an output, trained the same way on the base's own samples.

    labels    checked: a statement's truth by the step check | monte_carlo: how `completions` samples from
              the step's end turn out
    estimate  of monte_carlo: hard (one of them ends right) | soft (the share that does)
    """

    labels: Literal["checked", "monte_carlo"] = "checked"
    completions: Positive = 4
    estimate: Literal["hard", "soft"] = "hard"

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.labels == "checked" and (self.completions, self.estimate) != (4, "hard"):
            raise ValueError(
                f"completions={self.completions}, estimate={self.estimate} mean nothing with labels=checked; "
                "set labels=monte_carlo"
            )
        return self


class TeacherConfig(Section):
    """A model folder in the hub's layout with its tokenizer.json: a run's checkpoint, or any other model.

    path            where it lies; its content names a run, not its place
    pretrain_steps  in its place: the run's own from-scratch model, pretrained for so many steps as bases are
    """

    path: str | None = None
    pretrain_steps: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.pretrain_steps is None):
            given = "neither is" if self.path is None else "both are"
            raise ValueError(f"path, pretrain_steps: {given} given; name a model folder, or set path=null")
        return self
