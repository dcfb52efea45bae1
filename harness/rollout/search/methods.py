"""The searches, each a generator over one problem (outputs.py), and the choice of an answer. Pure.

best_of_n      independent outputs; the one of the highest value (arXiv:2110.14168, arXiv:2408.03314 §5.1)
weighted_vote  the same outputs; the answer with the largest sum of values (arXiv:2206.02336)
beam           beam.py
mcts           PUCT over steps, a simulation an output (tree.py)

With the value `rollout` an output is worth the share of the problem's outputs with its answer, as in rStar
(arXiv:2408.06195), so that best_of_n takes a majority vote (arXiv:2203.11171).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from typing import Any

from harness.rollout.search.beam import beam
from harness.rollout.search.outputs import Ask, Draw, Found, Judge, Output, Search
from harness.rollout.search.tree import Node, Tree, ask_from
from harness.schema.search_config import SearchConfig


def search(config: SearchConfig, *, max_new_tokens: int, at_least: int = 1) -> Search:
    """Search one problem until the budget is spent and `at_least` outputs are there.

    `max_new_tokens` is the longest output, prompt apart.
    """
    if config.fn == "beam":
        return beam(config, at_least=at_least)
    if config.fn == "mcts":
        return mcts(config, max_new_tokens=max_new_tokens, at_least=at_least)
    return independent(config, max_new_tokens=max_new_tokens, at_least=at_least)


def independent(config: SearchConfig, *, max_new_tokens: int, at_least: int) -> Search:
    """Independent outputs until the budget is spent."""
    found = Found(by_votes=config.value == "rollout")
    longest = max_new_tokens
    while num := num_next(config.most, found, longest, at_least):
        outputs: list[Output] = yield Draw([Ask()] * num)
        values = yield from whole_values(config, outputs)
        enter(found, outputs, values)
        longest = max(o.num_drawn for o in found.outputs)
    found.num_nodes = 1 + len({output.ids for output in found.outputs})
    found.depth = 1
    return found


def mcts(config: SearchConfig, *, max_new_tokens: int, at_least: int) -> Search:
    """PUCT over steps: a simulation chooses a node, draws on to the end, and backs its value up."""
    found = Found(by_votes=config.value == "rollout")
    tree = Tree(width=config.width, c_init=config.c_init, c_base=config.c_base)
    drawn = 0
    while num := num_next(config.most, found, drawn or max_new_tokens, at_least):
        nodes: list[Node] = []
        while len(nodes) < min(num, config.parallel) and (node := tree.select()) is not None:
            nodes.append(node)
        outputs: list[Output] = yield Draw([ask_from(node) for node in nodes])
        values = yield from whole_values(config, outputs)
        enter(found, outputs, values)
        for node, output, value in zip(nodes, outputs, values, strict=True):
            tree.add(node, output, value)
        if found.by_votes:
            tree.revalue(found.worth())
        drawn = max([drawn, *(output.num_drawn for output in outputs)])
    found.num_nodes, found.depth, found.rows = len([*tree.nodes()]), tree.depth(), tree.rows()
    return found


def num_next(budget: int, found: Found, longest: int, at_least: int) -> int:
    """How many outputs to draw next: as many as the rest of the budget pays for at the longest length so far.

    One more while any of it is left; 0 once it is spent, unless fewer than `at_least` are there.
    """
    left, lacking = budget - found.sampled, at_least - len(found.outputs)
    return max(1, left // longest, lacking) if left > 0 else max(0, lacking)


def whole_values(
    config: SearchConfig, outputs: Sequence[Output]
) -> Generator[Draw | Judge, Any, list[float]]:
    """Values of complete outputs; zeros where votes give them."""
    if config.value == "rollout":
        return [0.0] * len(outputs)
    values: list[float] = yield Judge([(output, len(output.ids)) for output in outputs])
    return values


def enter(found: Found, outputs: Sequence[Output], values: Sequence[float]) -> None:
    """Enter complete outputs one after another, as if each had been drawn once the one before was over."""
    for output, value in zip(outputs, values, strict=True):
        begun, found.sampled = found.sampled, found.sampled + output.num_drawn
        found.add(output, value, begun=begun, spent=found.sampled)


def choose(found: Found, fn: str, budget: int) -> int | None:
    """Choose an output of those begun within a budget, of equals the first; None where there is none.

    weighted_vote takes the answer with the largest sum of values, and of it the output of the highest one;
    outputs without an answer have no vote.
    """
    worth = found.worth(found.within(budget))
    if not worth:
        return None
    among = range(len(worth))
    if fn == "weighted_vote":
        weights: defaultdict[str, float] = defaultdict(float)
        for output, value in zip(found.outputs, worth, strict=False):
            if output.answer is not None:
                weights[output.answer] += value
        if weights:
            best = max(weights, key=lambda answer: weights[answer])
            return max((i for i in among if found.outputs[i].answer == best), key=lambda i: worth[i])
    return max(among, key=lambda i: worth[i])


def taken(found: Found, take: str, size: int) -> list[int]:
    """The outputs that training gets: the best by value, of equals the first, or the last ones."""
    among = range(len(found.outputs))
    if take == "last":
        return [*among][-size:]
    worth = found.worth()
    return sorted(sorted(among, key=lambda i: -worth[i])[:size])
