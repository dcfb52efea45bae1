"""PUCT over steps: choices, visits, values and what is closed, worked by hand and against a plain recount."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from harness.rollout.search.outputs import vote_shares
from harness.rollout.search.tree import Node, Tree, ancestors
from tests.unit.harness.rollout.search.world import output, text_of

NO_GROWTH = 1e12  # c_base so large that C(N) is c_init to 12 digits


def name(node: Node) -> str:
    return "" if node.output is None else text_of(node.output, node.length)


def drawn(tree: Tree, text: str, value: float) -> str:
    """Select, draw what makes the output `text`, back up; the node that was selected."""
    node = selected(tree)
    assert text.startswith(name(node))
    tree.add(node, output(text, given=node.length), value)
    return name(node)


def selected(tree: Tree) -> Node:
    node = tree.select()
    assert node is not None
    return node


def by_name(tree: Tree) -> dict[str, Node]:
    return {name(node): node for node in tree.nodes()}


def asked(node: Node) -> Node:
    """A node that was selected, whatever PUCT says."""
    node.asked += 1
    for passed in ancestors(node):
        passed.pending += 1
    return node


def test_six_simulations_by_hand() -> None:
    """C = 1, width 2: every slot has the prior 1/2."""
    tree = Tree(width=2, c_init=1.0, c_base=NO_GROWTH)
    # N = 0, nothing drawn: a free slot.
    assert drawn(tree, "a;x.", 1.0) == ""
    # Root: N = 1, mean 1. `a;`: 1 + 1 (1/2) sqrt(1)/(1+1) = 1.25. The free slot: 1 + (1/2) sqrt(1) = 1.5.
    assert drawn(tree, "b;y.", 0.0) == ""
    # Root: N = 2, no slot is free. `a;`: 1 + (1/2) sqrt(2)/2 = 1.354; `b;`: 0 + 0.354. At `a;` its child is
    # complete, so closed, and a slot is free.
    assert drawn(tree, "a;z.", 0.0) == "a;"
    found = by_name(tree)
    assert (found["a;"].visits, found["a;"].mean, found["a;"].draws) == (2, 0.5, 2)
    assert found["a;"].closed and not found["b;"].closed and not tree.root.closed
    # `a;` is closed, so `b;` it is, though its value is lower.
    assert drawn(tree, "b;w.", 1.0) == "b;"
    assert tree.root.closed and tree.root.mean == 2 / 4
    # Nothing is left: a search with a budget draws from the prompt again, and meets a known output.
    assert drawn(tree, "a;x.", 1.0) == ""
    found = by_name(tree)
    visits = {name: node.visits for name, node in found.items()}
    assert visits == {"": 5, "a;": 3, "a;x.": 2, "a;z.": 1, "b;": 2, "b;y.": 1, "b;w.": 1}
    assert found["a;"].total == 2.0 and found["a;"].drawn == 2 and found["a;x."].drawn == 2
    assert tree.depth() == 2
    # The tree for a reader: depth first, each with its own step's tokens and its parent's place.
    rows = tree.rows()
    assert ["".join(map(chr, row["ids"])) for row in rows] == ["", "a;", "x", "z", "b;", "y", "w"]
    assert [row["parent"] for row in rows] == [None, 0, 1, 1, 0, 4, 4]
    assert [row["complete"] for row in rows] == [False, False, True, True, False, True, True]


def test_the_constant_grows_with_visits() -> None:
    """C(4) = log((1 + 4 + 1)/1) + 0.1 = 1.892, and sqrt(4) = 2: 3.784 in all.

    `a;`: 0.9 + 3.784 (1/2)/(1 + 3) = 1.373. `b;`: 0.5 + 3.784 (1/2)/(1 + 1) = 1.446. With C = 0.1 alone 0.925
    and 0.55.
    """
    for c_base, best in ((1.0, "b;"), (NO_GROWTH, "a;")):
        tree = Tree(width=2, c_init=0.1, c_base=c_base)
        tree.root.visits, tree.root.total, tree.root.draws = 4, 3.2, 2
        for text, visits, mean in (("a;", 3, 0.9), ("b;", 1, 0.5)):
            child = Node(parent=tree.root, output=output(text), length=2, drawn=1)
            child.visits, child.total = visits, visits * mean
            tree.root.children[tuple(map(ord, text))] = child
        chosen = tree.choose(tree.root)
        assert chosen is not None and name(chosen) == best


def test_a_step_drawn_twice_has_twice_the_prior() -> None:
    """After `a;x.` (1), `a;x.` (0) and `b;y.` (0.4), width 3, C = 2, all slots taken, N = 3, sqrt(3) = 1.732.

    `a;`: 0.5 + 2 (2/3) 1.732/(1 + 2) = 1.270. `b;`: 0.4 + 2 (1/3) 1.732/2 = 0.977; with equal priors 1/3 `a;`
    would have 0.885.
    """
    tree = Tree(width=3, c_init=2.0, c_base=NO_GROWTH)
    for text, value in (("a;x.", 1.0), ("a;x.", 0.0), ("b;y.", 0.4)):
        tree.add(asked(tree.root), output(text), value)
    chosen = tree.choose(tree.root)
    assert chosen is not None and name(chosen) == "a;"


def test_simulations_under_way_count_as_visits() -> None:
    """After `a;x.` (1) and `b;y.` (0.9), width 2, C = 1: N = 2. `a;` 1.354, `b;` 1.254.

    With one under way through `a;` N = 3: `a;` 1 + 0.866/3 = 1.289, `b;` 0.9 + 0.866/2 = 1.333.
    """
    tree = Tree(width=2, c_init=1.0, c_base=NO_GROWTH)
    for text, value in (("a;x.", 1.0), ("b;y.", 0.9)):
        tree.add(asked(tree.root), output(text), value)
    first, second = selected(tree), selected(tree)
    assert [name(first), name(second)] == ["a;", "b;"]
    tree.add(second, output("b;v.", given=2), 0.0)
    tree.add(first, output("a;u.", given=2), 0.0)
    assert all(node.pending == node.asked == 0 for node in tree.nodes())


def test_slots_that_are_asked_for_are_not_free() -> None:
    """Width 2: a third simulation waits for the first two, unless the whole tree is closed."""
    tree = Tree(width=2, c_init=1.0, c_base=NO_GROWTH)
    nodes = [tree.select(), tree.select(), tree.select()]
    assert nodes == [tree.root, tree.root, None] and tree.root.asked == tree.root.pending == 2
    for text in ("x.", "y."):
        tree.add(tree.root, output(text), 0.0)
    assert tree.root.draws == 2 and tree.root.asked == tree.root.pending == 0 and tree.root.closed
    assert [tree.select(), tree.select()] == [tree.root] * 2


def test_votes_are_backed_up_anew() -> None:
    """Answers x, y, x: 2/3, 1/3, 2/3. `a;` has the first two: mean 1/2."""
    tree = Tree(width=3, c_init=1.0, c_base=NO_GROWTH)
    for text in ("a;x.", "a;y.", "b;x."):
        tree.add(asked(tree.root), output(text), 0.0)
    tree.revalue(vote_shares(["x", "y", "x"]))
    found = by_name(tree)
    assert found["a;"].mean == pytest.approx(1 / 2) and found["b;"].mean == pytest.approx(2 / 3)
    assert tree.root.total == pytest.approx(5 / 3)
    assert vote_shares(["x", None, None]) == [1 / 3, 0.0, 0.0]  # no answer is no vote, and counts among all


def test_a_tree_is_searched_whole_if_each_draw_is_new() -> None:
    """Eight outputs of three steps: eight simulations meet each once, whatever they are worth."""
    texts = [";".join(word) + "." for word in itertools.product("ab", repeat=3)]
    for seed in range(5):
        rng = random.Random(seed)
        values = {text: rng.random() for text in texts}
        tree = Tree(width=2, c_init=1.25, c_base=19652)
        for _ in texts:
            assert not tree.root.closed
            node = selected(tree)
            below = [name(child) for child in node.children.values()]
            new = [t for t in texts if t.startswith(name(node)) and not t.startswith((*below, "?"))]
            text = rng.choice(new)
            tree.add(node, output(text, given=node.length), values[text])
        assert tree.root.closed
        assert {name(n) for n in tree.nodes() if n.terminal} == set(texts)
        assert tree.root.mean == pytest.approx(sum(values.values()) / 8)


def test_random_trees_against_a_recount() -> None:
    """Visits, values and PUCT's choice, from the list of simulations alone."""
    rng = random.Random(3)
    for _ in range(30):
        width, c_init = rng.choice((1, 2, 4)), rng.choice((0.2, 1.25, 4.0))
        tree = Tree(width=width, c_init=c_init, c_base=rng.choice((3.0, 19652.0)))
        made: list[tuple[str, float]] = []
        for _ in range(25):
            node = selected(tree)
            steps = rng.randrange(0, 3) if node.length < 8 else 0
            letters = "".join(f"{rng.choice('abc')};" for _ in range(steps))
            text, value = f"{name(node)}{letters}{rng.choice('xy')}.", rng.random()
            made.append((text, value))
            tree.add(node, output(text, given=node.length), value)
        for node in tree.nodes():
            mine = [value for text, value in made if text.startswith(name(node))]
            if not node.terminal:
                assert node.visits == len(mine) == sum(c.visits for c in node.children.values())
            assert node.total == pytest.approx(sum(mine))
            assert tree.choose(node) is best(node, tree)


def best(node: Node, tree: Tree) -> Node | None:
    """PUCT's choice as its formula reads; of equals the earliest child, a free slot last."""
    rate = math.log((1 + node.visits + tree.c_base) / tree.c_base) + tree.c_init
    slots = max(tree.width, node.draws)
    scores = {
        child: child.total / child.visits
        + rate * (child.drawn / slots) * math.sqrt(node.visits) / (1 + child.visits)
        for child in node.children.values()
        if not child.closed
    }
    mean = node.total / node.visits if node.visits else 0.0
    free = mean + rate / slots * math.sqrt(node.visits) if node.draws < tree.width else -math.inf
    if not scores or free > max(scores.values()):
        return None
    return max(scores, key=lambda child: scores[child])
