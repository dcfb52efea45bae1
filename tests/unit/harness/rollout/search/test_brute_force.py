"""MCTS and beams on random tiny worlds, against accounts that are recomputed from the list of draws alone."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from harness.rollout.search.methods import choose, search
from harness.schema.search_config import SearchConfig
from tests.unit.harness.rollout.search.world import Player, text_of

ROOM = 12


def go_on(given: str, simulation: int) -> str:
    """Up to two more steps of `a;` or `b;`, then an answer x, y or z, by the simulation's number."""
    rng = random.Random(f"{given} {simulation}")
    steps = rng.choice((0, 1, 1, 2)) if len(given) < 6 else 0
    return "".join(f"{rng.choice('ab')};" for _ in range(steps)) + rng.choice("xyz") + "."


def worth(text: str) -> float:
    return random.Random(text).random()


@dataclass
class Recount:
    """PUCT over prefixes: no node is kept, every count is taken anew from the draws and those under way."""

    width: int
    c_init: float
    c_base: float
    draws: list[tuple[str, str, float]] = field(default_factory=list)  # prefix, output, value
    under_way: list[str] = field(default_factory=list)

    def path(self, text: str) -> list[str]:
        """The prompt, the ends of steps, the output."""
        ends = [i + 1 for i, letter in enumerate(text) if letter == ";"]
        return ["", *(text[:end] for end in ends), *([text] if text.endswith(".") else [])]

    def children(self, name: str) -> list[str]:
        """Steps after a node, in the order of their first draw."""
        paths = [self.path(text) for _, text, _ in self.draws]
        return list(dict.fromkeys(path[path.index(name) + 1] for path in paths if name in path[:-1]))

    def visits(self, name: str) -> int:
        return sum(name in self.path(text) for _, text, _ in self.draws)

    def mean(self, name: str) -> float:
        values = [value for _, text, value in self.draws if name in self.path(text)]
        return sum(values) / len(values) if values else 0.0

    def pending(self, name: str) -> int:
        return sum(name in self.path(prefix) for prefix in self.under_way)

    def drawn_from(self, name: str) -> int:
        """Draws of a step after the node: those that began there or before, and went through it."""
        return sum(
            name in self.path(text)[:-1] and len(prefix) <= len(name) for prefix, text, _ in self.draws
        )

    def led_to(self, name: str) -> int:
        """How many draws of the parent's steps gave this one."""
        return sum(name in self.path(text) and len(prefix) < len(name) for prefix, text, _ in self.draws)

    def closed(self, name: str) -> bool:
        if name.endswith("."):
            return True
        return self.drawn_from(name) >= self.width and all(map(self.closed, self.children(name)))

    def select(self) -> str | None:
        """The prefix to draw from; None where its samples are all under way."""
        name = ""
        while True:
            taken = self.drawn_from(name) + self.under_way.count(name)
            slots, number = max(self.width, taken), self.visits(name) + self.pending(name)
            rate = (math.log((1 + number + self.c_base) / self.c_base) + self.c_init) * math.sqrt(number)
            scores = {
                child: self.mean(child)
                + rate * self.led_to(child) / slots / (1 + self.visits(child) + self.pending(child))
                for child in self.children(name)
                if not self.closed(child)
            }
            free = self.mean(name) + rate / slots if taken < self.width else -math.inf
            if not scores or free > max(scores.values()):
                break
            name = max(scores, key=lambda child: scores[child])
        waits = name in self.under_way and taken >= self.width and not self.closed("")
        return None if waits else name


def recount(config: SearchConfig, value: Callable[[str], float]) -> tuple[list[list[str]], Recount]:
    """Prefixes drawn from, by round, and the account of it."""
    account = Recount(config.width, config.c_init, config.c_base)
    rounds: list[list[str]] = []
    spent, longest, simulation = 0, ROOM, 0
    while (left := config.most - spent) > 0:
        while len(account.under_way) < min(config.parallel, max(1, left // longest)):
            name = account.select()
            if name is None:
                break
            account.under_way.append(name)
        rounds.append(account.under_way)
        account.under_way, new = [], []
        for prefix in rounds[-1]:
            text = prefix + go_on(prefix, simulation)
            simulation += 1
            spent += len(text) - len(prefix)
            new.append((prefix, text, value(text)))
        account.draws += new
        if config.value == "rollout":
            votes = Counter(text[-2] for _, text, _ in account.draws)
            total = len(account.draws)
            account.draws = [(p, text, votes[text[-2]] / total) for p, text, _ in account.draws]
        longest = max(len(text) - len(prefix) for prefix, text, _ in account.draws)
    return rounds, account


@pytest.mark.parametrize("value", ["process", "rollout"])
@pytest.mark.parametrize("parallel", [1, 3, 8])
def test_mcts_draws_where_a_recount_would(parallel: int, value: str) -> None:
    for width in (1, 2, 4):
        for c_init, c_base in ((0.1, 19652.0), (1.25, 19652.0), (1.25, 3.0)):
            settings = {"width": width, "parallel": parallel, "c_init": c_init, "c_base": c_base}
            config = SearchConfig.model_validate({"fn": "mcts", "value": value, "budget": 150, **settings})
            player = Player(go_on, worth)
            found = player.play(search(config, max_new_tokens=ROOM))
            rounds, account = recount(config, worth)
            assert player.asked == rounds
            assert [text_of(output) for output in found.outputs] == [text for _, text, _ in account.draws]
            assert found.worth() == pytest.approx([worth for *_, worth in account.draws])
            names = {name for _, text, _ in account.draws for name in account.path(text)}
            assert found.num_nodes == len(names)
            shown = sorted((row["visits"], round(row["value"], 9)) for row in found.rows)
            assert shown == sorted((account.visits(name), round(account.mean(name), 9)) for name in names)


def test_no_node_is_drawn_from_more_often_than_its_width() -> None:
    """However many simulations run at a time, until nothing is open any more."""
    config = SearchConfig.model_validate({"fn": "mcts", "value": "process", "budget": 20, "width": 3})
    player = Player(go_on, worth)
    player.play(search(config, max_new_tokens=ROOM // 6))
    # 20 // 2 outputs are paid for, 8 may run at a time, 3 slots are open.
    assert len(player.asked[0]) == 3


@pytest.mark.parametrize("fn", ["best_of_n", "beam", "mcts"])
def test_an_oracle_is_right_where_any_output_is(fn: str) -> None:
    """So it is no lower than any other choice among its outputs, at every budget."""
    met = 0
    for seed in range(40):
        config = SearchConfig.model_validate({"fn": fn, "value": "oracle", "budget": [5, 20, 60]})
        player = Player(lambda given, i, seed=seed: go_on(given, 1000 * seed + i), right)
        found = player.play(search(config, max_new_tokens=ROOM))
        for budget in config.budget:
            place, num = choose(found, fn, budget), found.within(budget)
            assert place is not None
            some = any(right(text_of(output)) for output in found.outputs[:num])
            assert right(text_of(found.outputs[place])) == some
            met += some
    assert 5 < met < 100  # neither always nor never


def right(text: str) -> float:
    return float(text.startswith("a;b;") and text[-2] == "x")


def beams_of(beams: int, width: int, draw: Callable[[str], str]) -> list[list[str]]:
    """Prefixes drawn from, by round, of one lookahead run over `worth`: texts and lists, nothing else."""
    rounds, live = (
        [],
        [("", list[str]())] * beams,
    )  # a prefix, and the outputs that are known to begin with it
    while live:
        known = [(prefix, text) for prefix, texts in live for text in texts[:width]]
        rounds.append([prefix for prefix, texts in live for _ in range(width - len(texts[:width]))])
        steps: dict[str, list[str]] = {}
        for prefix, text in [*known, *((prefix, prefix + draw(prefix)) for prefix in rounds[-1])]:
            end = text.find(";", len(prefix)) + 1 or len(text)
            steps.setdefault(text[:end], []).append(text)
        means = {step: sum(map(worth, texts)) / len(texts) for step, texts in steps.items()}
        kept = sorted(steps, key=lambda step: -means[step])[:beams]
        live = [(step, steps[step]) for step in kept if not step.endswith(".")]
        beams -= len(kept) - len(live)
    return [prefixes for prefixes in rounds if prefixes]


@pytest.mark.parametrize(("beams", "width"), [(1, 2), (2, 3), (4, 4)])
def test_beams_go_on_from_the_steps_of_the_best_mean(beams: int, width: int) -> None:
    for seed in range(0, 2000, 100):
        settings = {"fn": "beam", "value": "outcome", "budget": 400, "beams": beams, "width": width}
        player = Player(lambda given, i, seed=seed: go_on(given, seed + i), worth)
        found = player.play(search(SearchConfig.model_validate(settings), max_new_tokens=ROOM))
        simulations = itertools.count(seed)
        expected = beams_of(beams, width, lambda prefix, numbers=simulations: go_on(prefix, next(numbers)))
        assert player.asked[: len(expected)] == expected  # the first run; more follow within the budget
        assert found.values == [worth(text_of(output)) for output in found.outputs]
