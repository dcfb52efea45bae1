"""Rules over a whole run's config: objectives that may train on samples of a search. Imports no torch.

A search prefers some outputs, so its samples are not the policy's: P(output) under the search is not the
product of the policy's probabilities, and is not known. What stays right, and what is refused:

    loss without a ratio (nll, policy_gradient)  the search's outputs are imitated or weighed as they are
    any ratio, train: drawn                      only tokens drawn freely after the step that was chosen:
                                                 given that step they are the policy's own, token by token
    any ratio, best_of_n with take: last         independent outputs, not chosen: plain samples
    any ratio, else                              refused: pi / pi_old of an output is no correction
    k1, k2, k3 to the reference                  refused with the ratio's exceptions: means over the policy's
                                                 own samples; `exact` sums over the vocabulary at each token
    gae, pass_at_k, max_rl                       refused but for plain samples: values, pass rates and
                                                 k-subsets are those of independent outputs
"""

from __future__ import annotations

from typing import Any

from harness.schema.search_config import RolloutSearchConfig
from harness.schema.section import Check

_RATIO_FREE = ("nll", "policy_gradient")
_OF_INDEPENDENT = ("gae", "pass_at_k", "max_rl")


def is_plain(search: RolloutSearchConfig) -> bool:
    """Whether the samples are independent ones after all: best-of-n whose outputs are not chosen by value."""
    return search.fn == "best_of_n" and search.take == "last"


def _biased(c: Any) -> RolloutSearchConfig | None:
    """The search, where whole outputs are trained on that are not the policy's."""
    search: RolloutSearchConfig | None = c.rollout.search
    return search if search is not None and not is_plain(search) and search.train == "outputs" else None


def _needs(c: Any) -> str | None:
    """The learned model that a value asks for and the objective does not train."""
    search = c.rollout.search
    name = {"outcome": "reward_model", "process": "process_reward_model"}.get(search.value if search else "")
    return name if name is not None and getattr(c.objective, name) is None else None


SEARCH_CHECKS: tuple[Check[Any], ...] = (
    Check(
        lambda c: _biased(c) and c.objective.loss.fn not in _RATIO_FREE,
        "rollout.search.fn={c.rollout.search.fn} with objective.loss.fn={c.objective.loss.fn}: outputs "
        "that a search has chosen are not the policy's, so pi / pi_old corrects nothing; use objective=pg or "
        "sft_rejection, which take no ratio, or rollout.search.train=drawn with take=last",
    ),
    Check(
        lambda c: _biased(c) and c.objective.kl.uses_reference and c.objective.kl.estimator != "exact",
        "rollout.search.fn={c.rollout.search.fn} with objective.kl.estimator={c.objective.kl.estimator}: "
        "it is a mean over the policy's own samples, and a search's are others; use estimator=exact, or "
        "kl.coef=0",
    ),
    Check(
        lambda c: (
            c.rollout.search is not None
            and not is_plain(c.rollout.search)
            and c.objective.advantage.fn in _OF_INDEPENDENT
        ),
        "rollout.search.fn={c.rollout.search.fn} with objective.advantage.fn={c.objective.advantage.fn}: its "
        "baseline is that of independent outputs of the policy; use group_normalized, group_centered or "
        "accepted_only",
    ),
    Check(
        lambda c: c.rollout.search is not None and c.rollout.lag,
        "rollout.search with rollout.lag={c.rollout.lag}: the ratio to the policy that sampled corrects no "
        "search; set lag=0",
    ),
    Check(
        lambda c: _needs(c),
        "rollout.search.value={c.rollout.search.value}: the objective trains no such model; give the "
        "objective one (objective=rlhf_ppo and grpo_prm have them), or use value=oracle or rollout",
    ),
)
