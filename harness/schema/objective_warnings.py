"""Settings of an objective that run but cannot do what their names say. Imports no torch."""

from __future__ import annotations

from harness.schema.loss_config import CLIPPED
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.section import Check


def _updates_once(objective: ObjectiveConfig) -> bool:
    return objective.updates.epochs * objective.updates.minibatches == 1


_ONCE = "with one update per rollout batch the ratio is 1 and"
_MORE = "set objective.updates.epochs or minibatches above 1"

WARNINGS: tuple[Check[ObjectiveConfig], ...] = (
    Check(
        lambda c: _updates_once(c) and c.loss.fn in CLIPPED,
        f"objective.loss: {_ONCE} the clip can never bind; {_MORE} to study clipping",
    ),
    Check(
        lambda c: _updates_once(c) and c.kl.in_loss and c.kl.against == "old",
        f"objective.kl: {_ONCE} KL(old || policy) has no gradient; {_MORE}",
    ),
    Check(
        lambda c: _updates_once(c) and c.value is not None and c.value.clip is not None,
        f"objective.value.clip: {_ONCE} values are those it clips around; {_MORE}",
    ),
    Check(
        lambda c: not c.is_rewarded and c.kl.uses_reference and c.kl.reference == "base",
        "objective.reward: every weight is 0 and the policy starts at the reference, so the KL has "
        "nothing to undo; set objective.reward.accuracy=1",
    ),
    Check(
        lambda c: c.loss.fn == "ppo_clip" and c.loss.clip_low is not None and c.loss.clip_low >= 1,
        "objective.loss.clip_low={c.loss.clip_low:g}: a ratio is never below 0, so the lower clip can never "
        "bind; use 0.2, or loss.fn=surrogate for none",
    ),
    Check(
        lambda c: c.kl.in_loss and c.kl.estimator == "k1" and c.kl.against == "ref",
        "objective.kl: k1 as a loss has an expected gradient of zero; use k2 or k3, or placement=reward",
    ),
    Check(
        lambda c: c.loss.fn == "nll" and c.advantage.fn != "accepted_only",
        "objective.loss.fn=nll with advantage.fn={c.advantage.fn}: it trains on outputs with a positive "
        "advantage, however large; use accepted_only, or loss.fn=policy_gradient",
    ),
    Check(
        lambda c: c.ratio != "token" and c.loss.fn == "ppo_clip" and c.credits_tokens,
        "objective.ratio={c.ratio} with advantages of each token (advantage.fn={c.advantage.fn}): the clip "
        "is taken token by token, min(r A_t, clip(r) A_t), not of the output's mean advantage; use "
        "ratio=token, or an advantage of whole outputs such as rloo",
    ),
    Check(
        lambda c: c.ratio == "sequence" and c.reduce != "sequence_mean" and c.loss.fn != "topr",
        "objective.ratio=sequence with reduce={c.reduce}: each token carries its whole output's term, which "
        "weights it by length; use reduce=sequence_mean",
    ),
)
