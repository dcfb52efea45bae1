"""The schema of an objective's rewards, and of the reward models that learn them. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.schema.own_function import OwnReward
from harness.schema.section import Check, Positive, PositiveFloat, Section, Share

Script = Literal[
    "latin", "chinese", "japanese", "korean", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai"
]


class RewardConfig(Section):
    """Weights of the rewards, which are summed (0: the reward is off), and parameters of three of them."""

    accuracy: float
    """Weight of a right final answer (1) against a wrong one (0)."""
    format_r1: float = 0.0
    """Weight of R1's format: one `<think>...</think>`, which the prompt may open, followed by an answer."""
    format_answer: float = 0.0
    """Weight of an output that ends and has an answer (1), right or wrong, against others (0), a control."""
    tests: float = 0.0
    """Weight of the share of its tests that a program passes, in [0, 1]; for data.answer_rules=[program]."""
    language_consistency: float = 0.0
    """Weight of the share of the thought's words that are written in `target_script`, in [0, 1]."""
    length_penalty: float = 0.0
    """Weight of -length / rollout.max_new_tokens, in [-1, 0]."""
    soft_overlong: float = 0.0
    """Weight of DAPO's punishment in [-1, 0] for outputs near the length limit."""
    random: float = 0.0
    """Weight of a coin toss, a control that cannot teach anything."""
    inverted: float = 0.0
    """Weight of a wrong final answer (1) against a right one (0), a control."""
    model: float = 0.0
    """Weight of a learned reward model's probability that the output is right; needs `reward_model`."""
    steps: float = 0.0
    """Reward of a right arithmetic statement at its last token (a wrong one: 0); for advantage.fn=process."""
    step_model: float = 0.0
    """Weight of a learned process reward model's probability at each step; for advantage.fn=process."""
    custom: OwnReward | None = None
    """A reward of your own, `{path: rewards.py:brevity, weight: 0.2}`; null: none."""
    target_script: Script = "latin"
    """Script of the language to think in; languages that share one are not told apart."""
    random_p: Share = 0.5
    """Probability that a random reward is 1."""
    overlong_buffer: Positive | None = None
    """Tokens before rollout.max_new_tokens over which soft_overlong falls to -1; null: a fifth of it."""

    @property
    def weights(self) -> dict[str, float]:
        """The rewards of whole outputs whose weight is not 0, by name."""
        others = {"random_p", "overlong_buffer", "target_script", "steps", "step_model", "custom"}
        found = self.model_dump(exclude=others) | {"custom": self.custom.weight if self.custom else 0.0}
        return {name: w for name, w in found.items() if w}

    checks: ClassVar[tuple[Check[RewardConfig], ...]] = (
        Check(
            lambda c: c.random_p != 0.5 and not c.random,
            "random_p={c.random_p:g} means nothing with random=0; set random=1",
        ),
        Check(
            lambda c: c.overlong_buffer is not None and not c.soft_overlong,
            "overlong_buffer={c.overlong_buffer} means nothing with soft_overlong=0; set soft_overlong=1",
        ),
        Check(
            lambda c: c.target_script != "latin" and not c.language_consistency,
            "target_script={c.target_script} means nothing with language_consistency=0; set "
            "language_consistency=1",
        ),
    )


class RewardModelConfig(Section):
    """A classifier of right outputs: the base with a head, trained on its own graded samples (BCE).

    Each training problem has rollout.group_size samples; every fifth problem is for validation.
    """

    num_problems: Annotated[int, Field(ge=2)]
    """Problems of the training set that are sampled."""
    epochs: Positive
    """Passes over the samples."""
    batch_size: Positive
    """Outputs in one update."""
    lr: PositiveFloat
    """Learning rate of AdamW."""


class ProcessRewardModelConfig(RewardModelConfig):
    """A classifier of an output's steps, trained in the same way on the base's own samples."""

    labels: Literal["checked", "monte_carlo"] = "checked"
    """What makes a step right. checked: the step check; monte_carlo: samples that continue from its end."""
    completions: Positive = 4
    """Samples from each step's end; for labels=monte_carlo."""
    estimate: Literal["hard", "soft"] = "hard"
    """Label of a step by these samples. hard: 1 if any ends right; soft: the share that does."""

    checks: ClassVar[tuple[Check[ProcessRewardModelConfig], ...]] = (
        Check(
            lambda c: c.labels == "checked" and (c.completions, c.estimate) != (4, "hard"),
            "completions={c.completions}, estimate={c.estimate} mean nothing with labels=checked; "
            "set labels=monte_carlo",
        ),
    )
