"""The schema of a search over derivation steps, at evaluation and in training. Imports no torch."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from harness.schema.section import Check, Name, NonNegative, Positive, PositiveFloat, Section

SearchFn = Literal["best_of_n", "weighted_vote", "beam", "mcts"]
SearchValue = Literal["outcome", "process", "rollout", "oracle"]
# The settings that each fn reads, beside value and budget.
READS: dict[str, tuple[str, ...]] = {
    "best_of_n": (),
    "weighted_vote": (),
    "beam": ("width", "beams", "step_tokens"),
    "mcts": ("width", "c_init", "c_base", "parallel"),
}


class SearchConfig(Section):
    """Spend a budget of tokens on each problem by a search, and choose one of the outputs that it found."""

    fn: SearchFn
    """best_of_n: independent outputs, the one of the highest value. weighted_vote: the answer with the
    largest sum of values. beam: the best steps go on (arXiv:2408.03314). mcts: PUCT over steps
    (arXiv:1712.01815)."""
    value: SearchValue
    """What an output is worth. outcome, process: a learned model's P(right), of the whole or of its worst
    step. rollout: the share of the problem's outputs with the same answer, so best_of_n takes a majority
    vote. oracle: 1 if right, else 0, by the reference answer: a ceiling, and in training the reward."""
    budget: list[Positive] = Field(min_length=1)
    """Tokens sampled a problem. What began before they were spent is finished and counted; of a beam, in one
    way a step kept. Of a list the largest is searched, and the smaller are read off on the way."""
    width: Positive = 4
    """mcts: samples drawn at a node before it counts as expanded. beam: continuations of each step kept."""
    beams: Positive = 4
    """beam: steps kept; it samples beams x width steps at a time."""
    step_tokens: Positive = 16
    """beam with value=process: tokens sampled before a look for the step's end."""
    parallel: Positive = 8
    """mcts: most simulations of one problem that are decoded together."""
    c_init: PositiveFloat = 1.25
    """mcts: PUCT's constant of exploration where few have visited (AlphaZero's 1.25)."""
    c_base: PositiveFloat = 19652.0
    """mcts: visits over which that constant grows (AlphaZero's 19652)."""

    @field_validator("budget", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Take a number alone as a list of one."""
        return value if isinstance(value, list | tuple) else [value]

    @property
    def most(self) -> int:
        """The largest budget, which is searched."""
        return max(self.budget)

    @property
    def learned(self) -> bool:
        """Whether a reward model gives the values."""
        return self.value in ("outcome", "process")

    @property
    def independent(self) -> bool:
        """Whether its outputs are drawn whole from the prompt, so that other such searches draw the same."""
        return self.fn in ("best_of_n", "weighted_vote")

    @property
    def by_step(self) -> bool:
        """Whether steps are sampled one at a time, since a model can judge an output that is not complete."""
        return self.fn == "beam" and self.value == "process"

    @property
    def idle(self) -> str | None:
        """The first setting with a value of its own that this search does not read."""
        reads = [n for n in READS[self.fn] if n != "step_tokens" or self.by_step]
        every = {name for names in READS.values() for name in names}
        own = (n for n in SearchConfig.model_fields if n in every - set(reads))
        return next((n for n in own if getattr(self, n) != SearchConfig.model_fields[n].default), None)

    @property
    def _shown(self) -> str:
        return f"{self.idle}={getattr(self, self.idle or 'fn')}"

    checks: ClassVar[tuple[Check[Any], ...]] = (
        Check(
            lambda c: c.fn == "weighted_vote" and not c.learned,
            "value={c.value} with fn=weighted_vote: weighing votes by it chooses as best_of_n does; use "
            "fn=best_of_n, or value=outcome or process",
        ),
        Check(
            lambda c: c.idle,
            "{c._shown} means nothing with fn={c.fn}, value={c.value}; leave it out",
        ),
        Check(
            lambda c: sorted(set(c.budget)) != c.budget,
            "budget={c.budget}: give each number once, the smallest first",
        ),
    )


class EvalSearchConfig(SearchConfig):
    """One search of the evaluation, with records of its own."""

    name: Name | None = None
    """What tables call it; null: fn and value. Searches of one name make one curve."""
    splits: list[Literal["train", "validation", "test", "heldout"]] = Field(default=["test"], min_length=1)
    """Splits of the data that it searches on."""
    trees: NonNegative = 0
    """Problems whose trees are kept for a reader; the report draws the first."""

    @property
    def label(self) -> str:
        """`mcts, process`; the oracle's says what it is."""
        said = "oracle (ceiling)" if self.value == "oracle" else self.value
        return self.name or f"{self.fn}, {said}"


class RolloutSearchConfig(SearchConfig):
    """A search that gives training its samples, in place of independent ones.

    They are not the policy's: a search prefers some outputs. So either no ratio is taken (an objective
    without one), or only tokens that the policy drew freely are trained on (`train: drawn`).
    """

    take: Literal["best", "last"] = "best"
    """The group_size outputs of the highest value, or the last ones found."""
    train: Literal["outputs", "drawn"] = "outputs"
    """Train on whole outputs, or on the tokens alone that each simulation drew itself from the step that the
    search had chosen: given that step they are the policy's own, so ratios are right (take: last)."""

    checks: ClassVar[tuple[Check[Any], ...]] = (
        *SearchConfig.checks,
        Check(lambda c: len(c.budget) > 1, "budget={c.budget}: training takes one number"),
        Check(
            lambda c: c.train == "drawn" and c.take == "best",
            "train=drawn with take=best: outputs chosen by their value are not the policy's even given their "
            "first steps; set take=last",
        ),
        Check(
            lambda c: c.fn == "weighted_vote",
            "fn=weighted_vote chooses an answer, and training takes outputs; use fn=best_of_n",
        ),
        Check(
            lambda c: c.train == "drawn" and c.fn == "beam",
            "train=drawn with fn=beam, whose steps go on because of what followed them; use fn=mcts",
        ),
    )
