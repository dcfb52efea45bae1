"""The schema of an objective's loss, and of its correction for the sampler. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.schema.own_function import OWN_GOES_WITH_CUSTOM, OwnFunction
from harness.schema.section import Check, PositiveFloat, Section

Level = Literal["token", "sequence", "sequence_mean"]
CLIPPED = ("ppo_clip", "cispo", "gmpo")


class LossConfig(Section):
    """The policy's loss at each token (harness.objectives.losses)."""

    fn: Literal["nll", "policy_gradient", "surrogate", "ppo_clip", "cispo", "sapo", "gmpo", "topr", "custom"]
    """Loss that is minimised: -log p on positive advantages, -A log p, -r A, one clipped, or `custom`'s."""
    custom: OwnFunction | None = None
    """A loss of your own: `(logprobs, ratio, advantages, completion_mask) -> loss`, all [B, T]."""
    clip_low: PositiveFloat | None = None
    """Ratios are clipped below 1 - clip_low, with fn=gmpo log ratios below -clip_low. For fn=ppo_clip, cispo
    and gmpo, which need both bounds."""
    clip_high: PositiveFloat | None = None
    """Ratios are clipped above 1 + clip_high, with fn=gmpo log ratios above clip_high."""
    tau_low: PositiveFloat | None = None
    """Steepness of the gate where the advantage is negative. For fn=sapo, which needs both."""
    tau_high: PositiveFloat | None = None
    """Steepness of the gate where the advantage is positive."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """Bound c of the loss where the advantage is negative, at most c |A|; null: none. For fn=ppo_clip."""

    @property
    def params(self) -> dict[str, float | None]:
        """The keywords that `fn` takes beside its tensors."""
        takes = {
            "ppo_clip": ["clip_low", "clip_high", "dual_clip"],
            "cispo": ["clip_low", "clip_high"],
            "gmpo": ["clip_low", "clip_high"],
            "sapo": ["tau_low", "tau_high"],
        }
        return {name: getattr(self, name) for name in takes.get(self.fn, [])}

    checks: ClassVar[tuple[Check[LossConfig], ...]] = (
        Check(
            lambda c: c.fn in CLIPPED and None in (c.clip_low, c.clip_high),
            "fn={c.fn} needs clip_low and clip_high; 0.2 is PPO's for both",
        ),
        Check(
            lambda c: c.fn not in CLIPPED and (c.clip_low, c.clip_high) != (None, None),
            "clip_low, clip_high mean nothing to fn={c.fn}; set null",
        ),
        Check(
            lambda c: c.fn == "sapo" and None in (c.tau_low, c.tau_high),
            "fn=sapo needs tau_low and tau_high; 1.05 and 1.0 are the paper's",
        ),
        Check(
            lambda c: c.fn != "sapo" and (c.tau_low, c.tau_high) != (None, None),
            "tau_low, tau_high mean nothing to fn={c.fn}; set null",
        ),
        Check(
            lambda c: c.fn != "ppo_clip" and c.dual_clip is not None,
            "dual_clip={c.dual_clip:g} means nothing to fn={c.fn}; set null",
        ),
        *OWN_GOES_WITH_CUSTOM,
    )


class TISConfig(Section):
    """Truncated importance sampling: every loss is multiplied by min(pi_old / pi_sampler, cap)."""

    cap: PositiveFloat
    """Largest weight."""
    level: Level
    """Ratio of each token, of the whole output, or the geometric mean over its tokens."""
    outside: Literal["cap", "drop"] = "cap"
    """A ratio above cap weighs cap; or one outside [floor, cap] weighs 0: a token is dropped (IcePop,
    arXiv:2510.18855), or with another level the whole output."""
    floor: PositiveFloat | None = None
    """Smallest ratio that is not dropped; null: there is none. For outside=drop."""

    checks: ClassVar[tuple[Check[TISConfig], ...]] = (
        Check(
            lambda c: c.floor is not None and c.outside == "cap",
            "floor={c.floor:g} means nothing with outside=cap; set outside=drop, or floor=null",
        ),
        Check(
            lambda c: c.floor is not None and c.floor >= 1,
            "floor={c.floor:g} drops samples of the policy itself, whose ratio is 1; set it below 1",
        ),
        Check(
            lambda c: c.outside == "drop" and c.cap <= 1,
            "cap={c.cap:g} with outside=drop drops samples of the policy itself, whose ratio is 1; set it "
            "above 1",
        ),
    )
