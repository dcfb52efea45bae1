"""Searches of many problems on the native engine: seeds, batches, limits, and what an output is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from harness.model.policy import Policy, token_logprobs
from harness.model.rows import pack_rows
from harness.rollout.native import NativeEngine
from harness.rollout.search.drive import Reader, Searcher
from harness.rollout.search.outputs import Found
from harness.schema.search_config import SearchConfig
from harness.seeds import derive
from harness.types import Problem, Prompt, Rollout, SamplingParams
from tests.unit.harness.model.test_policy import LLAMA, random_policy
from tests.unit.harness.rollout.test_prefixes import prefilled

EOS = (3, 5)
SEARCHES = (
    {"fn": "best_of_n", "value": "rollout"},
    {"fn": "mcts", "value": "rollout", "width": 2, "parallel": 3},
    {"fn": "mcts", "value": "outcome", "width": 3, "parallel": 2},
    {"fn": "beam", "value": "outcome", "width": 2, "beams": 2},
    {"fn": "beam", "value": "process", "width": 2, "beams": 2, "step_tokens": 3},
)


class Thirds(Reader):
    """A step ends at every token that 3 divides; the answer is the first token."""

    def steps(self, ids: tuple[int, ...], text: str) -> tuple[int, ...]:
        return tuple(i + 1 for i, token in enumerate(ids) if token % 3 == 0)

    def vote(self, text: str, *, exact: bool) -> str | None:
        return text.partition(" ")[0] or None


class Spy(NativeEngine):
    """The native engine, with a note of every request."""

    def __init__(self, policy: Policy, *, rows: int) -> None:
        super().__init__(policy, eos_token_ids=EOS, decode=decode, max_batch_size=rows)
        self.requests: list[tuple[str, tuple[int, ...], int, int]] = []

    def generate(self, prompts: Sequence[Prompt], **settings: Any) -> list[Rollout]:
        for prompt, seed, limit in zip(prompts, settings["seeds"], settings["limits"], strict=True):
            self.requests.append((prompt.problem_id, prompt.token_ids, seed, limit))
        return super().generate(prompts, **settings)


def decode(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def judge(places: Sequence[int], rollouts: Sequence[Rollout]) -> list[float]:
    """A value in [0, 1] of the tokens alone."""
    return [sum(r.completion_ids) % 17 / 16 for r in rollouts]


PROBLEMS = [Problem(f"p{i}", "d", "test", f"{i}", "1") for i in range(7)]
PROMPTS = [Prompt(p.id, "question", p.text, tuple(range(7, 9 + i))) for i, p in enumerate(PROBLEMS)]


def searched(
    settings: dict[str, Any], places: Sequence[int], *, rows: int = 64, budget: int = 60
) -> tuple[list[Found], Spy]:
    engine = Spy(random_policy(LLAMA), rows=rows)
    run = searcher(settings, places, engine, budget=budget).run
    return run([PROBLEMS[i] for i in places], [PROMPTS[i] for i in places]), engine


def searcher(
    settings: dict[str, Any],
    places: Sequence[int],
    engine: NativeEngine,
    known: dict[Any, Any] | None = None,
    judged: list[str] | None = None,
    *,
    budget: int = 60,
) -> Searcher:
    def noted(places: Sequence[int], rollouts: Sequence[Rollout]) -> list[float]:
        if judged is not None:
            judged.append(settings["value"])
        return judge(places, rollouts)

    return Searcher(
        engine=engine,
        config=SearchConfig.model_validate({"budget": budget, **settings}),
        params=SamplingParams(max_new_tokens=12, logprobs=True),
        reader=Thirds(decode, ()),
        seed=lambda place, simulation: derive(11, PROBLEMS[places[place]].id, simulation),
        judge=noted,
        known=known,
    )


def test_searches_that_draw_alike_decode_once_and_find_what_they_would_alone() -> None:
    """Among searches over independent outputs the first decodes, and the first of each value judges."""
    settings = [
        {"fn": fn, "value": value}
        for fn, value in (
            ("best_of_n", "rollout"),
            ("best_of_n", "outcome"),
            ("weighted_vote", "outcome"),
            ("best_of_n", "process"),
        )
    ]
    alone = [searched(each, range(7)) for each in settings]
    engine, known, judged = Spy(random_policy(LLAMA), rows=64), dict[Any, Any](), list[str]()
    for each, (expected, own) in zip(settings, alone, strict=True):
        found = searcher(each, range(7), engine, known, judged).run(PROBLEMS, PROMPTS)
        assert found == expected  # tokens, logprobs, values, what is spent: to the bit
        assert engine.requests == own.requests
    rounds = len(judged) // 2
    assert judged == ["outcome"] * rounds + ["process"] * rounds and rounds > 1


def tokens_of(found: Found) -> list[tuple[int, ...]]:
    return [output.ids for output in found.outputs]


@pytest.mark.parametrize("settings", SEARCHES, ids=lambda s: f"{s['fn']}, {s['value']}")
def test_a_search_does_not_depend_on_the_others_nor_on_the_rows(settings: dict[str, Any]) -> None:
    together, _ = searched(settings, range(7))
    again, _ = searched(settings, range(7))
    few, _ = searched(settings, (5, 2), rows=3)
    for found, other in ((together, again), ([together[5], together[2]], few)):
        for mine, theirs in zip(found, other, strict=True):
            assert tokens_of(mine) == tokens_of(theirs) and mine.begun == theirs.begun
            assert mine.worth() == theirs.worth() and mine.num_nodes == theirs.num_nodes
    assert len({tuple(tokens_of(found)) for found in together}) == 7


@pytest.mark.parametrize("settings", SEARCHES, ids=lambda s: f"{s['fn']}, {s['value']}")
def test_each_simulation_of_a_problem_has_its_own_seed(settings: dict[str, Any]) -> None:
    _, engine = searched(settings, range(4))
    seeds = defaultdict(list)
    for problem, _, seed, _ in engine.requests:
        seeds[problem].append(seed)
    for problem, found in seeds.items():
        assert found == [derive(11, problem, simulation) for simulation in range(len(found))]
    assert len({seed for *_, seed, _ in engine.requests}) == len(engine.requests)


@pytest.mark.parametrize("settings", SEARCHES, ids=lambda s: f"{s['fn']}, {s['value']}")
def test_an_output_is_what_was_given_and_what_was_drawn(settings: dict[str, Any]) -> None:
    """Logprobs are those of the whole output, read at once; no output is longer than the longest."""
    found, engine = searched(settings, range(3))
    sampled = 0
    for place, of in enumerate(found):
        prompt = PROMPTS[place].token_ids
        for output in of.outputs:
            assert len(output.ids) == len(output.logprobs) <= 12
            assert output.complete and output.stopped == (output.ids[-1] in EOS)
            assert not set(output.ids[:-1]) & set(EOS)
            ids = torch.tensor([[*prompt, *output.ids]])
            with torch.no_grad():
                packed = pack_rows(ids, torch.tensor([ids.shape[1]]), torch.ones_like(ids, dtype=torch.bool))
                expected, _ = token_logprobs(engine.policy, packed, temperature=1.0)  # [1, T]
            assert output.logprobs == pytest.approx(expected[0, len(prompt) :].tolist(), abs=1e-4)
        sampled += of.sampled
    for problem, ids, _, limit in engine.requests:
        given = len(ids) - len(PROMPTS[int(problem[1:])].token_ids)
        assert 1 <= limit <= 12 - given
    assert sampled >= 60 * 3 or settings["fn"] == "beam"  # a run of beams that the rest does not pay for


def test_the_prefix_of_a_simulation_is_a_node_of_earlier_ones() -> None:
    found, engine = searched({"fn": "mcts", "value": "outcome", "width": 2, "parallel": 1}, [0], budget=120)
    outputs, start = found[0].outputs, len(PROMPTS[0].token_ids)
    met = set[tuple[int, ...]]([()])
    assert any(output.num_given for output in outputs)
    for output, (_, ids, _, _) in zip(outputs, engine.requests, strict=True):
        assert ids[start:] == output.ids[: output.num_given] and ids[start:] in met
        met |= {output.ids[:end] for end in output.ends}
    assert found[0].sampled == sum(len(o.ids) - o.num_given for o in outputs)


@pytest.mark.parametrize("settings", SEARCHES, ids=lambda s: f"{s['fn']}, {s['value']}")
def test_given_steps_are_computed_once_in_a_search(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees prefill each prompt once; independent outputs, whose rounds others may read, keep nothing."""
    seen = prefilled(monkeypatch)
    searched(settings, range(4), budget=100)
    prompts = [prompt.token_ids for prompt in PROMPTS[:4]]
    if settings["fn"] == "best_of_n":
        assert seen[:4] == prompts and len(seen) > 4
    else:
        assert seen == prompts
