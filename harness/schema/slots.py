"""The schema of an objective's slots, each with what it can get wrong by itself. Imports no torch.

Rewards are in reward_config.py, advantages in advantage_config.py, losses in loss_config.py;
objective_config.py says which slots go together.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.schema.section import Check, NonNegativeFloat, Positive, PositiveFloat, Section, Share, Used


class SelectionConfig(Section):
    """The samples that are trained on.

    all       every sample
    accepted  samples with a reward above advantage.threshold
    dynamic   groups whose samples differ; problems sampled anew replace the others (DAPO, arXiv:2503.14476)
    """

    fn: Literal["all", "accepted", "dynamic"]
    """Rule that selects, as listed above."""
    cap_per_problem: Positive | None = None
    """Most accepted samples of one problem; null: no limit. For fn=accepted."""
    dedupe: bool = False
    """Take only the first of a problem's outputs with the same tokens. For fn=accepted."""
    by: Literal["reward", "accuracy"] = "reward"
    """Value in which the samples of a group must differ. For fn=dynamic."""
    max_sampled: Annotated[float, Field(ge=1)] | None = None
    """Most problems sampled in a step, as a multiple of rollout.prompts_per_step. For fn=dynamic."""

    checks: ClassVar[tuple[Check[SelectionConfig], ...]] = (
        Check(
            lambda c: c.fn == "dynamic" and c.max_sampled is None,
            "max_sampled=null with fn=dynamic; give its limit, such as max_sampled=3",
        ),
        Check(
            lambda c: c.fn != "dynamic" and c.max_sampled is not None,
            "max_sampled={c.max_sampled:g} means nothing to fn={c.fn}; set null",
        ),
        Check(
            lambda c: c.fn != "dynamic" and c.by != "reward",
            "by={c.by} means nothing to fn={c.fn}; leave it out, or use fn=dynamic",
        ),
        Check(
            lambda c: c.fn != "accepted" and (c.cap_per_problem is not None or c.dedupe),
            "cap_per_problem and dedupe mean nothing to fn={c.fn}; use fn=accepted",
        ),
    )


class KLConfig(Section):
    """A KL penalty. The KL to the base is measured in every arm, whatever the coefficient."""

    estimator: Literal["k1", "k2", "k3", "exact"] = "k3"
    """Estimator of the KL; exact sums over the vocabulary."""
    placement: Literal["loss", "reward"] = "loss"
    """loss: a term of the loss. reward: -coef x KL in the reward, of each token where advantages belong to
    tokens (gae, reinforce_pp), else of the whole output."""
    coef: NonNegativeFloat = 0.0
    """Coefficient; 0: no penalty."""
    against: Literal["ref", "old"] = "ref"
    """ref: KL(policy || reference). old: KL(sampling policy || policy), PPO's penalty."""
    target: PositiveFloat | None = None
    """KL in nats/token towards which the coefficient adapts, by PPO's rule (x 2 or / 2); null: fixed."""
    horizon: Positive | None = None
    """Samples over which the coefficient adapts in proportion instead, as InstructGPT's; null: PPO's rule."""
    refresh_every: Positive | None = None
    """Steps after which the reference becomes the current policy; null: it never changes."""
    reference: Literal["base", "untrained", "teacher"] | None = "base"
    """The other policy. base: the model that the run begins from; in a pipeline's later stage that is the
    checkpoint of the stage before, as in R1. untrained: the base of the pipeline's first stage. teacher with
    estimator=exact is on-policy distillation."""
    ratio_weighted: bool = False
    """Multiply the estimate by pi / pi_old of each token, with its gradient: value and gradient are then
    unbiased for KL(policy || reference) at each token, also after an update (DeepSeek-V3.2)."""

    @property
    def uses_reference(self) -> bool:
        """Whether the penalty needs the reference's logprobs."""
        return self.coef > 0 and self.against == "ref"

    @property
    def in_loss(self) -> bool:
        """Whether a KL is a term of the loss."""
        return self.coef > 0 and self.placement == "loss"

    @property
    def in_reward(self) -> bool:
        """Whether a KL is taken from the reward."""
        return self.coef > 0 and self.placement == "reward"

    checks: ClassVar[tuple[Check[KLConfig], ...]] = (
        Check(
            lambda c: c.against == "old" and c.placement == "reward",
            "placement=reward with against=old: it is 0 at sampling; use placement=loss",
        ),
        Check(
            lambda c: c.against == "old" and c.estimator == "exact",
            "estimator=exact with against=old needs the old policy's whole distributions; use k3, "
            "which is unbiased there in value and gradient",
        ),
        Check(
            lambda c: c.target is not None and not c.coef,
            "target={c.target:g} with coef=0: 0 cannot adapt; start with coef=1",
        ),
        Check(
            lambda c: c.horizon is not None and c.target is None,
            "horizon={c.horizon} means nothing without target; set target or null",
        ),
        Check(
            lambda c: c.ratio_weighted and (c.against == "old" or c.placement == "reward"),
            "ratio_weighted with against={c.against}, placement={c.placement}: only a KL to the reference in "
            "the loss is on other samples than the policy's; set against=ref and placement=loss, or false",
        ),
        Check(
            lambda c: c.ratio_weighted and c.estimator in ("k2", "exact"),
            "ratio_weighted with estimator={c.estimator}: k2 stays biased and exact needs no samples; use k3 "
            "or k1, or ratio_weighted=false",
        ),
        Check(
            lambda c: c.reference == "teacher" and (not c.uses_reference or c.refresh_every is not None),
            "reference=teacher needs coef above 0, against=ref and refresh_every=null: the teacher stays",
        ),
        Check(
            lambda c: c.reference == "untrained" and c.refresh_every is not None,
            "refresh_every={c.refresh_every} with reference=untrained, which stays; use reference=base",
        ),
        Check(
            lambda c: c.refresh_every is not None and not c.uses_reference,
            "refresh_every={c.refresh_every} with no reference in use; set coef above 0 and against=ref",
        ),
    )

    used: ClassVar[tuple[Used[KLConfig], ...]] = (
        Used(
            ("estimator", "placement", "against", "ratio_weighted"),
            lambda c, run: c.coef,
            "there is no KL penalty (objective.kl.coef=0)",
            warn=True,
        ),
        Used(
            ("reference",),
            lambda c, run: c.uses_reference,
            "no KL to a reference is taken (objective.kl.coef, objective.kl.against)",
            idle=(None,),
            warn=True,
        ),
    )


class ValueConfig(Section):
    """The critic: GAE(gamma, lam), and a loss of coef x (V - return)^2 / 2."""

    shared_trunk: bool
    """A head on the policy's own states; false: a model of its own that starts as the base."""
    gamma: Share
    """Discount of each token."""
    lam: Share
    """GAE's lambda."""
    coef: PositiveFloat
    """Weight of the value loss."""
    clip: PositiveFloat | None = None
    """Values are clipped to within this of those at sampling; null: they are not."""
    lr_scale: PositiveFloat = 1.0
    """Learning rate of the critic as a multiple of trainer.lr."""
    whiten: bool = False
    """Give advantages mean 0 and standard deviation 1 over the batch's tokens."""


class UpdatesConfig(Section):
    """Optimiser steps per rollout batch: epochs x minibatches. old_logprobs stay those at sampling."""

    epochs: Positive
    """Passes over the rollout batch."""
    minibatches: Positive
    """Parts into which each pass divides the batch; each holds whole groups."""
