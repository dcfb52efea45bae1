"""The schema of an objective's advantages. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.schema.own_function import OWN_GOES_WITH_CUSTOM, OwnFunction
from harness.schema.section import Check, NonNegativeFloat, Positive, Section

COMPARED = ("group_normalized", "group_centered", "rloo", "max_rl", "pass_at_k", "process")


class AdvantageConfig(Section):
    """How rewards become advantages."""

    fn: Literal[
        "accepted_only",
        "raw_reward",
        "signed",
        "group_centered",
        "group_normalized",
        "rloo",
        "reinforce_pp",
        "max_rl",
        "pass_at_k",
        "gae",
        "process",
        "custom",
    ]
    """Estimator of the advantage (harness.objectives.advantages); custom: the function of `custom`."""
    custom: OwnFunction | None = None
    """An advantage of your own, `(rewards, group_ids) -> advantages`, each [B]; for fn=custom."""
    std: Literal["none", "sample", "population"] = "none"
    """Standard deviation that divides, with G - 1 (sample) or G (population); none: no division."""
    eps: NonNegativeFloat = 0.0
    """Added to the standard deviation."""
    threshold: float = 0.0
    """A reward above this is accepted; with fn=signed its output is good."""
    k: Positive | None = None
    """Samples of which the best counts; for fn=pass_at_k."""
    sign: Literal["both", "positive", "negative"] = "both"
    """Advantages of the other sign become 0; their rows still count in the denominator."""
    positive_weight: NonNegativeFloat = 1.0
    """Factor of positive advantages; 0.1 beside fn=signed is W-REINFORCE."""
    negative_weight: NonNegativeFloat = 1.0
    """Factor of negative advantages; 0 trains on good outputs alone."""
    entropy_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Part of the batch's tokens, those of the highest entropy at the first update, that keep their
    advantages; null: all tokens do."""

    @property
    def params(self) -> dict[str, Any]:
        """The keywords that `fn` takes beside rewards and group_ids."""
        takes = {
            "accepted_only": ["threshold"],
            "signed": ["threshold"],
            "group_normalized": ["std", "eps"],
            "pass_at_k": ["k", "std", "eps"],
        }
        return {name: getattr(self, name) for name in takes.get(self.fn, [])}

    @property
    def sign_weights(self) -> dict[str, float]:
        """Factors of positive and of negative advantages."""
        return {
            "positive": 0.0 if self.sign == "negative" else self.positive_weight,
            "negative": 0.0 if self.sign == "positive" else self.negative_weight,
        }

    @property
    def _has_needless_std(self) -> bool:
        return self.fn not in ("group_normalized", "pass_at_k", "process") and self.std != "none"

    checks: ClassVar[tuple[Check[AdvantageConfig], ...]] = (
        Check(
            lambda c: c._has_needless_std and c.eps and c.fn != "reinforce_pp",
            "std={c.std} means nothing to fn={c.fn}; set none, and eps=0",
        ),
        Check(lambda c: c._has_needless_std, "std={c.std} means nothing to fn={c.fn}; set none"),
        Check(
            lambda c: c.eps and c.std == "none" and c.fn != "reinforce_pp",
            "eps={c.eps:g} means nothing to fn={c.fn} with std=none; set eps=0",
        ),
        Check(
            lambda c: c.fn == "accepted_only" and c.sign != "both",
            "sign={c.sign} with fn=accepted_only, whose advantages are 1 or 0; set both",
        ),
        Check(
            lambda c: c.fn == "accepted_only" and (c.positive_weight, c.negative_weight) != (1, 1),
            "positive_weight={c.positive_weight:g}, negative_weight={c.negative_weight:g} with "
            "fn=accepted_only, whose advantages are 1 or 0; set 1, and change trainer.lr",
        ),
        Check(
            lambda c: not any(c.sign_weights.values()),
            "positive_weight={c.positive_weight:g}, negative_weight={c.negative_weight:g}, sign={c.sign}: no "
            "advantage is left; set one above 0",
        ),
        Check(
            lambda c: c.sign == "positive" and c.negative_weight != 1,
            "negative_weight={c.negative_weight:g} means nothing with sign=positive; set sign=both",
        ),
        Check(
            lambda c: c.sign == "negative" and c.positive_weight != 1,
            "positive_weight={c.positive_weight:g} means nothing with sign=negative; set sign=both",
        ),
        Check(
            lambda c: c.fn == "pass_at_k" and c.k is None,
            "k=null with fn=pass_at_k; give the number of samples of which the best counts, such as k=4",
        ),
        Check(
            lambda c: c.fn != "pass_at_k" and c.k is not None,
            "k={c.k} means nothing to fn={c.fn}; set null, or fn=pass_at_k",
        ),
        Check(
            lambda c: c.fn == "pass_at_k" and c.std == "sample",
            "std=sample with fn=pass_at_k, whose subsets are all there are; set population or none",
        ),
        *OWN_GOES_WITH_CUSTOM,
    )
