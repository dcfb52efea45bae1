"""Best of n, weighted votes, beams and MCTS over a world of letters: what they sample, spend and choose."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from harness.rollout.search.beam import next_end
from harness.rollout.search.methods import choose, num_next, search, taken
from harness.rollout.search.outputs import Found
from harness.schema.search_config import SearchConfig
from tests.unit.harness.rollout.search.world import LONGEST, Player, output, scripted, text_of


def config(fn: str, value: str, budget: int | Sequence[int], **settings: object) -> SearchConfig:
    return SearchConfig.model_validate({"fn": fn, "value": value, "budget": budget, **settings})


def found_of(texts: Sequence[str], values: Sequence[float], *, by_votes: bool = False) -> Found:
    """Independent outputs, one after another."""
    found = Found(by_votes=by_votes)
    for text, value in zip(texts, values, strict=True):
        begun = found.sampled
        found.sampled += len(text)
        found.add(output(text), value, begun=begun, spent=found.sampled)
    return found


def texts_of(found: Found) -> list[str]:
    return [text_of(each) for each in found.outputs]


def test_what_began_within_a_budget_is_finished_and_counted() -> None:
    """Outputs of 3, 5 and 3 tokens begin at 0, 3 and 8."""
    found = found_of(["ax.", "a;bx.", "cy."], [0.2, 0.9, 0.5])
    assert [found.within(budget) for budget in (1, 3, 4, 8, 9, 99)] == [1, 1, 2, 2, 3, 3]
    assert [found.cost(budget) for budget in (1, 3, 4, 8, 9, 99)] == [3, 3, 8, 8, 11, 11]
    assert [choose(found, "best_of_n", budget) for budget in (1, 4, 9)] == [0, 1, 1]
    assert choose(Found(), "best_of_n", 9) is None


def test_a_vote_is_weighed_by_values() -> None:
    """x: 0.3 + 0.35 = 0.65, y: 0.6. Best of n takes y; the vote x, and of it the output of 0.35."""
    found = found_of(["ax.", "by.", "cx."], [0.3, 0.6, 0.35])
    assert choose(found, "best_of_n", 99) == 1 and choose(found, "weighted_vote", 99) == 2
    found.values[:] = [0.3, 0.7, 0.35]
    assert choose(found, "weighted_vote", 99) == 1
    # Within 6 tokens there are two outputs, one vote each.
    assert choose(found, "weighted_vote", 6) == 1


def test_best_of_n_by_votes_is_a_majority_vote() -> None:
    found = found_of(["ax.", "by.", "cy.", "dx.", "ey."], [0.0] * 5, by_votes=True)
    assert choose(found, "best_of_n", 99) == 1  # three y: the first of them
    assert choose(found, "best_of_n", 6) == 0  # x and y, a vote each: the first
    assert found.worth(3) == [1 / 3, 2 / 3, 2 / 3]


def test_the_oracle_is_never_below_another_choice_of_the_same_outputs() -> None:
    rng = random.Random(0)
    for _ in range(50):
        size = rng.randrange(1, 9)
        texts = [rng.choice("abc") * rng.randrange(3) + rng.choice("xyz") + "." for _ in range(size)]
        right = [float(text[-2] == "x") for text in texts]
        oracle, votes = found_of(texts, right), found_of(texts, right, by_votes=True)
        others = found_of(texts, [rng.random() for _ in texts])
        for budget in range(1, 30):
            top = choose(oracle, "best_of_n", budget)
            assert top is not None and right[top] == max(right[: oracle.within(budget)])
            for found, fn in ((others, "best_of_n"), (others, "weighted_vote"), (votes, "best_of_n")):
                other = choose(found, fn, budget)
                assert other is not None and right[top] >= right[other]
                assert oracle.cost(budget) == found.cost(budget)


def test_training_takes_the_best_or_the_last() -> None:
    found = found_of(["ax.", "by.", "cz.", "dx."], [0.5, 0.9, 0.5, 0.1])
    # Of 0.5 and 0.5 the first.
    assert taken(found, "best", 2) == [0, 1] and taken(found, "last", 2) == [2, 3]


def test_a_round_is_as_large_as_the_budget_pays_for() -> None:
    found = Found()
    assert num_next(100, found, 30, 1) == 3  # 3 x 30 <= 100
    assert num_next(20, found, 30, 1) == 1  # one is begun with what is left
    found.sampled = 100
    assert num_next(100, found, 30, 1) == 1  # spent, but there is no output yet
    found.outputs.append(output("ax."))
    assert num_next(100, found, 30, 1) == 0 and num_next(100, found, 30, 4) == 3


def test_best_of_n_spends_its_budget() -> None:
    """Outputs of 4 and 10 tokens in turn, budget 30: those at 0, 4, 14, 18, 28 begin, 32 does not."""
    values = {"abx.": 0.1, "abcdefghy.": 0.7}
    player = Player(scripted({"": ["abx.", "abcdefghy."]}), values.__getitem__)
    found = player.play(search(config("best_of_n", "outcome", 30), max_new_tokens=15))
    # First 30 // 15 = 2, of which the longest has 10. Then (30 - 14) // 10 = 1, (30 - 18) // 10 = 1, and
    # one more with 2 tokens left.
    assert [len(prefixes) for prefixes in player.asked] == [2, 1, 1, 1]
    assert found.begun == [0, 4, 14, 18, 28] and found.sampled == 32
    assert choose(found, "best_of_n", 30) == 1 and [o.simulation for o in found.outputs] == [0, 1, 2, 3, 4]
    assert player.judged == texts_of(found)


def test_a_smaller_budget_is_a_beginning_of_a_larger_one() -> None:
    def go_on(given: str, simulation: int) -> str:
        return "a" * random.Random(simulation).randrange(8) + "x."

    small, large = (
        Player(go_on).play(search(config("best_of_n", "outcome", budget), max_new_tokens=10))
        for budget in (20, 60)
    )
    size = small.within(20)
    assert size == len(small.outputs) == large.within(20) < len(large.outputs)
    assert texts_of(small) == texts_of(large)[:size] and small.cost(20) == large.cost(20)


def test_mcts_goes_on_from_the_better_step() -> None:
    """Outputs that begin with `a;` are worth 0.6, others 0, the right one 1; C = 0.5, width 4, slots of 1/4.

    1  the prompt: `b;y.` 0
    2  N = 1: `b;` 0.5/4/2 = 0.06, a free slot 0.5/4 = 0.13: `a;y.` 0.6
    3  N = 2, mean 0.3: `a;` 0.6 + 0.125 1.414/2 = 0.69, free 0.3 + 0.177 = 0.48: from `a;`, z, 0.6
    4  N = 3, mean 0.4: `a;` 0.6 + 0.125 1.732/3 = 0.67, free 0.4 + 0.217 = 0.62: from `a;`, w, 0.6
    5  N = 4, mean 0.45: `a;` 0.6 + 0.125 2/4 = 0.66, free 0.45 + 0.25 = 0.70: `c;y.` 0
    6  N = 5, mean 0.36: `a;` 0.6 + 0.125 2.236/4 = 0.67, free 0.36 + 0.28 = 0.64: from `a;`, x, 1
    """
    table = {"": ["b;y.", "a;y.", "c;y.", "d;y."], "a;": ["z.", "w.", "x."]}

    def worth(text: str) -> float:
        return 1.0 if text == "a;x." else 0.6 * text.startswith("a;")

    settings = {"width": 4, "parallel": 1, "c_init": 0.5}
    player = Player(scripted(table), worth)
    found = player.play(search(config("mcts", "process", 17, **settings), max_new_tokens=LONGEST))
    assert player.asked == [[""], [""], ["a;"], ["a;"], [""], ["a;"]]
    assert found.sampled == 4 + 4 + 2 + 2 + 4 + 2  # what goes on from `a;` costs its own two tokens
    chosen = choose(found, "mcts", 17)
    assert chosen is not None and texts_of(found)[chosen] == "a;x."
    assert found.num_nodes == 10 and found.rows[0]["visits"] == 6  # the prompt, three steps, six outputs
    # The same tokens of independent outputs do not meet it.
    plain = Player(scripted(table), worth).play(search(config("best_of_n", "process", 17), max_new_tokens=4))
    assert texts_of(plain) == ["b;y.", "a;y.", "c;y.", "d;y.", "b;y."]


def test_mcts_with_votes_or_a_budget_of_one_ends() -> None:
    table = {"": ["a;x.", "a;y.", "b;x."], "a;": ["x."], "b;": ["y.", "x."]}
    for budget in (1, 40):
        searching = search(config("mcts", "rollout", budget, width=2), max_new_tokens=LONGEST)
        found = Player(scripted(table)).play(searching)
        assert found.cost(budget) >= budget and choose(found, "mcts", budget) is not None


def test_a_search_gives_as_many_outputs_as_are_asked_for() -> None:
    for fn, value in (("best_of_n", "oracle"), ("mcts", "oracle"), ("beam", "oracle"), ("beam", "process")):
        player = Player(lambda given, simulation: "abcx."[len(given) :])
        found = player.play(search(config(fn, value, 1), max_new_tokens=LONGEST, at_least=3))
        assert len(found.outputs) >= 3, fn


def test_a_step_is_over_once_something_follows_it() -> None:
    partial = output("a;b;")
    assert next_end(partial, 0) == 2 and next_end(partial, 2) is None  # `b;` may go on
    whole = output("a;b;x.")
    assert [next_end(whole, after) for after in (0, 2, 4)] == [2, 4, 6]


def test_a_beam_of_one_by_hand() -> None:
    """beams 1, width 2, process: `a;` is worth 0.9, `b;` 0.2; then `c;` 0.5, `d;` 0.8; then outputs.

    1  `a;` and `b;`, each with a letter after it, which shows that the step is over. `a;` is kept, and its
       letter `c` begins its first continuation.
    2  `a;c` lacks an end, so it goes on, and is a complete output at once; the other is drawn anew, `a;d;y`.
       `d;` is kept.
    3  `a;d;y` goes on, and another output is drawn after `a;d;`.
    """
    worth = {"a;": 0.9, "b;": 0.2, "a;c;": 0.5, "a;d;": 0.8}
    worth |= {"a;c;xx.": 0.1, "a;d;yz.": 0.6, "a;d;yx.": 0.7}
    table = {"": ["a;c", "b;q"], "a;": ["d;y"], "a;c": [";xx."], "a;d;": ["yx."], "a;d;y": ["z."]}
    player = Player(scripted(table), worth.__getitem__)
    settings = {"beams": 1, "width": 2, "step_tokens": 4}
    found = player.play(search(config("beam", "process", 18, **settings), max_new_tokens=LONGEST))
    assert player.asked == [["", ""], ["a;", "a;c"], ["a;d;", "a;d;y"]]
    assert texts_of(found) == ["a;c;xx.", "a;d;yx.", "a;d;yz."]
    assert choose(found, "beam", 1) == 1
    # 3 + 3, then 3 + 4, then 3 + 2.
    assert found.sampled == 18 and set(found.spent) == {18} and set(found.begun) == {0}
    assert found.depth == 3 and found.num_nodes == 1 + 2 + 2 + 2
    assert [row["parent"] for row in found.rows] == [None, 0, 0, 1, 1, 3, 3]  # `d;` is met before `c;`
    # With the budget spent by the first two, `a;` goes on in the way that its output began, alone: 3 + 3 + 4.
    player = Player(scripted(table), worth.__getitem__)
    found = player.play(search(config("beam", "process", 6, **settings), max_new_tokens=LONGEST))
    assert player.asked == [["", ""], ["a;c"]] and texts_of(found) == ["a;c;xx."] and found.sampled == 10


def test_lookahead_pays_for_nothing_twice() -> None:
    """beams 1, width 2, oracle: the kept step's own output is its first continuation."""
    table = {"": ["a;c;x.", "b;y."], "a;": ["d;y."], "a;c;": ["z."]}
    player = Player(scripted(table), lambda text: float(text.endswith("x.")))
    found = player.play(search(config("beam", "oracle", 16, beams=1, width=2), max_new_tokens=LONGEST))
    assert player.asked == [["", ""], ["a;"], ["a;c;"]]
    assert found.sampled == 6 + 4 + 4 + 2
    assert texts_of(found) == ["a;c;x.", "b;y.", "a;d;y.", "a;c;z."]
    assert player.judged == texts_of(found)  # each once
    assert choose(found, "beam", 1) == 0


def test_a_step_is_worth_the_mean_of_its_outputs() -> None:
    """beams 1, width 4, oracle: `a;` 1/3 of three outputs, `b;` 0 or 1 of one, is kept or not."""
    for outputs, kept in (
        (["a;x.", "a;y.", "a;z.", "b;y."], "a;"),
        (["a;x.", "a;y.", "a;z.", "b;x."], "b;"),
    ):
        table = {"": outputs, "a;": ["y."], "b;": ["y."]}
        player = Player(scripted(table), lambda text: float(text.endswith("x.")))
        player.play(search(config("beam", "oracle", 17, beams=1), max_new_tokens=LONGEST))
        assert set(player.asked[1]) == {kept}


def test_a_beam_begins_again_while_the_budget_pays_for_a_run() -> None:
    player = Player(lambda given, simulation: "ax."[len(given) :])
    found = player.play(search(config("beam", "oracle", 20, beams=1, width=2), max_new_tokens=LONGEST))
    # A run is two outputs of 3 tokens, equal ones: 0, 6 and 12 begin; 18 + 6 > 20.
    assert found.sampled == 18 and found.begun == [0, 6, 12] and found.spent == [6, 12, 18]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fn": "weighted_vote"}, "value=oracle with fn=weighted_vote"),
        ({"fn": "best_of_n", "width": 3}, "width=3 means nothing with fn=best_of_n"),
        ({"fn": "beam", "step_tokens": 3}, "step_tokens=3 means nothing with fn=beam, value=oracle"),
        ({"fn": "mcts", "beams": 3}, "beams=3 means nothing with fn=mcts"),
        ({"fn": "mcts", "budget": [9, 3]}, r"budget=\[9, 3\]: give each number once"),
        ({"fn": "mcts", "budget": [3, 3]}, r"budget=\[3, 3\]: give each number once"),
    ],
)
def test_settings_of_a_search_fit(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchConfig.model_validate({"value": "oracle", "budget": 5, **settings})
