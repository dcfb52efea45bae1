"""Run many problems' searches together: one batch of samples a round, one of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from harness.grading.find.extraction import Rule
from harness.grading.score import vote_of
from harness.rollout.search.methods import search
from harness.rollout.search.outputs import Ask, Draw, Found, Judge, Output
from harness.rollout.statements import statements
from harness.schema.prompts import own_answer
from harness.schema.search_config import SearchConfig
from harness.types import Problem, Prompt, Rollout, RolloutEngine, SamplingParams

# Values of outputs in part or whole, each with its problem's place.
Judged = Callable[[Sequence[int], Sequence[Rollout]], list[float]]


@dataclass(frozen=True)
class Reader:
    """How outputs are read: the codec's `decode` and the grader's rules. What was read once is kept."""

    decode: Callable[[Sequence[int]], str]
    rules: tuple[Rule, ...]
    kept: dict[Any, Any] = field(default_factory=dict)

    def steps(self, ids: tuple[int, ...], text: str) -> tuple[int, ...]:
        """Numbers of tokens up to each step's end, rising."""
        if (ids, text) not in self.kept:
            found = statements(ids, text, decode=self.decode)
            self.kept[ids, text] = tuple(sorted({place + 1 for place, _ in found}))
        ends: tuple[int, ...] = self.kept[ids, text]
        return ends

    def vote(self, text: str, *, exact: bool) -> str | None:
        """The answer's class; None where no answer is found."""
        if (text, exact) not in self.kept:
            self.kept[text, exact] = vote_of(text, self.rules, exact)
        answer: str | None = self.kept[text, exact]
        return answer


@dataclass(frozen=True)
class Searcher:
    """What every search of a call has in common.

    `seed(problem, simulation)` names the random numbers of a draw, whatever else is decoded. `judge` gives
    values of rollouts; None where votes do. `sampled` is told each round's prompts and rollouts, to count
    them. `known` holds the engine's and the judge's answers by what was asked: searches that share it and
    draw alike decode once, and find what they would alone, to the bit. None: nothing is kept.
    """

    engine: RolloutEngine
    config: SearchConfig
    params: SamplingParams
    reader: Reader
    seed: Callable[[int, int], int]
    judge: Judged | None
    policy_step: int = 0
    at_least: int = 1
    known: dict[Any, Any] | None = None
    sampled: Callable[[Sequence[Prompt], Sequence[Rollout]], None] = lambda prompts, rollouts: None

    def run(self, problems: Sequence[Problem], prompts: Sequence[Prompt]) -> list[Found]:
        """Search every problem; what each finds does not depend on the others, rounding of batches apart."""
        room = self.params.max_new_tokens
        searches = [search(self.config, max_new_tokens=room, at_least=self.at_least) for _ in problems]
        counts, found = [0] * len(problems), dict[int, Found]()
        asked: dict[int, Draw | Judge] = {}

        def advance(place: int, answer: Any) -> None:
            try:
                asked[place] = searches[place].send(answer)
            except StopIteration as over:
                found[place] = over.value
                del asked[place]

        for place in range(len(problems)):
            asked[place] = Draw([])
            advance(place, None)
        with nullcontext() if self.config.independent else self.engine.keeping_prefixes():
            while asked:
                if judging := {i: work for i, work in asked.items() if isinstance(work, Judge)}:
                    for place, values in self._values(problems, judging).items():
                        advance(place, values)
                    continue
                drawing = {i: work for i, work in asked.items() if isinstance(work, Draw)}
                for place, outputs in self._outputs(problems, prompts, drawing, counts).items():
                    advance(place, outputs)
        return [found[place] for place in range(len(problems))]

    def _outputs(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        drawing: dict[int, Draw],
        counts: list[int],
    ) -> dict[int, list[Output]]:
        """Sample what the searches of these problems ask for, in one call."""
        room = self.params.max_new_tokens
        flat = [(place, ask) for place, work in drawing.items() for ask in work.asks]
        seeds, numbers = [], []
        for place, _ in flat:
            seeds.append(self.seed(place, counts[place]))
            numbers.append(counts[place])
            counts[place] += 1
        given = [_given(prompts[place], ask) for place, ask in flat]
        limits = [min(ask.limit or room, room - len(ask.ids)) for _, ask in flat]
        rollouts = self._once(
            tuple(zip((prompt.token_ids for prompt in given), seeds, limits, strict=True)),
            lambda: self.engine.generate(
                given, params=self.params, seeds=seeds, policy_step=self.policy_step, limits=limits
            ),
        )
        self.sampled(given, rollouts)
        outputs: dict[int, list[Output]] = {place: [] for place in drawing}
        for (place, ask), rollout, number in zip(flat, rollouts, numbers, strict=True):
            outputs[place].append(self._output(problems[place], prompts[place], ask, rollout, number))
        return outputs

    def _output(self, problem: Problem, prompt: Prompt, ask: Ask, rollout: Rollout, number: int) -> Output:
        """The given tokens and the drawn ones as one completion, with its steps and its vote."""
        ids, stopped = (*ask.ids, *rollout.completion_ids), rollout.finish_reason == "stop"
        text = own_answer(self.reader.decode(ids[: len(ids) - stopped]), prompt.template)
        by_steps = self.config.fn in ("beam", "mcts")  # others need no steps, which take long to find
        complete = stopped or len(ids) >= self.params.max_new_tokens
        return Output(
            ids=ids,
            logprobs=(*ask.logprobs, *(rollout.sampler_logprobs or ())),
            text=text,
            ends=self.reader.steps(ids[: len(ids) - stopped], text) if by_steps else (),
            answer=self.reader.vote(text, exact=problem.exact) if complete else None,
            complete=complete,
            stopped=stopped,
            num_given=len(ask.ids),
            simulation=number,
        )

    def _values(self, problems: Sequence[Problem], judging: dict[int, Judge]) -> dict[int, list[float]]:
        """Value what the searches of these problems ask about, in one call."""
        judge = self.judge
        assert judge is not None
        flat = [(place, output, length) for place, work in judging.items() for output, length in work.parts]
        rollouts = [self.rollout(problems[place], output, length) for place, output, length in flat]
        parts = tuple((place, output.ids, length) for place, output, length in flat)
        asked = (self.config.value, parts)
        values = iter(self._once(asked, lambda: judge([place for place, *_ in flat], rollouts)))
        return {place: [next(values) for _ in work.parts] for place, work in judging.items()}

    def _once(self, asked: Any, answer: Callable[[], list[Any]]) -> list[Any]:
        """The answer to what is asked, from `known` where it is there."""
        if self.known is None:
            return answer()
        if asked not in self.known:
            self.known[asked] = answer()
        found: list[Any] = self.known[asked]
        return found

    def rollout(
        self,
        problem: Problem,
        output: Output,
        length: int | None = None,
        *,
        sample_idx: int = 0,
        whole_loss: bool = True,
    ) -> Rollout:
        """An output, or its first `length` tokens, as a rollout; given tokens count with `whole_loss`."""
        whole = length is None or length == len(output.ids)
        ids = output.ids if whole else output.ids[:length]
        text = self.reader.decode(ids[: len(ids) - (whole and output.stopped)])
        return Rollout(
            problem_id=problem.id,
            sample_idx=sample_idx,
            completion_ids=ids,
            text=text,
            sampler_logprobs=output.logprobs[: len(ids)] if self.params.logprobs else None,
            finish_reason="stop" if whole and output.stopped else "length",
            policy_step=self.policy_step,
            num_given=0 if whole_loss else output.num_given,
        )


def _given(prompt: Prompt, ask: Ask) -> Prompt:
    """The prompt with the given tokens after it."""
    return prompt if not ask.ids else replace(prompt, token_ids=(*prompt.token_ids, *ask.ids))
