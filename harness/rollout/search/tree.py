"""A search tree over derivation steps, with PUCT and AlphaZero's backup. Pure.

Steps cannot be listed, so a node's actions are samples: it has `width` slots of prior 1/width, each filled by
one draw from the policy, and equal draws share a node (Sampled MuZero, arXiv:2104.06303: the prior over
sampled actions is how often each was drawn). PUCT chooses a child, or a slot that is still free, by

    Q + C(N) P sqrt(N) / (1 + n),   C(N) = log((1 + N + c_base) / c_base) + c_init

(AlphaZero, arXiv:1712.01815, its pseudocode), N visits of the node, n of the child, Q the mean value below
it. A draw goes on to the output's end, and all its steps enter the tree, as their tokens are paid for.
Deviations: a free slot has its parent's Q, values lie in [0, 1] and have no opponent; complete outputs, and
nodes with nothing left below them, are not visited again; simulations under way count as visits without a
value (arXiv:1810.11755). ReST-MCTS* (arXiv:2406.03816) and rStar-Math (arXiv:2501.04519) search over steps
alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.rollout.search.outputs import Ask, Output


@dataclass(slots=True, eq=False)
class Node:
    """An output up to a step's end: the first `length` tokens of `output` (None: the prompt alone).

    `visits` have a value each, in `total`; `pending` do not have theirs yet. `draws` are samples drawn from
    here (`asked`: under way), `drawn` how many of the parent's draws led here. `closed`: nothing is left
    below.
    """

    parent: Node | None = None
    output: Output | None = None
    length: int = 0
    terminal: bool = False
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)
    visits: int = 0
    total: float = 0.0
    pending: int = 0
    draws: int = 0
    asked: int = 0
    drawn: int = 0
    closed: bool = False

    @property
    def mean(self) -> float:
        """Mean value of the simulations that passed here; 0 before the first."""
        return self.total / self.visits if self.visits else 0.0


class Tree:
    """The search tree of one problem."""

    def __init__(self, *, width: int, c_init: float, c_base: float) -> None:
        self.root, self.width, self.c_init, self.c_base = Node(), width, c_init, c_base
        self.paths: list[list[Node]] = []  # of each simulation, from the root to its output

    def select(self) -> Node | None:
        """The node to draw from next; every node on the way to it gets a pending visit.

        None where its samples are all under way: their values decide how the search goes on.
        """
        node = self.root
        while (child := self.choose(node)) is not None:
            node = child
        if node.asked and node.draws + node.asked >= self.width and not self.root.closed:
            return None
        for passed in ancestors(node):
            passed.pending += 1
        node.asked += 1
        return node

    def choose(self, node: Node) -> Node | None:
        """PUCT's choice among open children and a free slot, which is None; of equals the earliest child.

        None too where nothing is open, so that a search with a budget left draws on.
        """
        visits = node.visits + node.pending
        factor = math.log((1 + visits + self.c_base) / self.c_base) + self.c_init
        explore = factor * math.sqrt(visits)
        slots = max(self.width, node.draws + node.asked)
        best, score = None, -math.inf
        for child in node.children.values():
            if not child.closed:
                prior = child.drawn / slots
                found = child.mean + explore * prior / (1 + child.visits + child.pending)
                if found > score:
                    best, score = child, found
        free = node.draws + node.asked < self.width
        return None if free and node.mean + explore / slots > score else best

    def add(self, node: Node, output: Output, value: float) -> None:
        """Enter what was drawn from a selected node: its steps as nodes, its value up the whole path."""
        node.asked -= 1
        for passed in ancestors(node):
            passed.pending -= 1
        path = [*ancestors(node)][::-1]
        for end in [*(e for e in output.ends if node.length < e < len(output.ids)), len(output.ids)]:
            path[-1].draws += 1
            key = output.ids[path[-1].length : end]
            terminal = end == len(output.ids)
            child = path[-1].children.setdefault(
                key, Node(parent=path[-1], output=output, length=end, terminal=terminal, closed=terminal)
            )
            child.drawn += 1
            path.append(child)
        for passed in path:
            passed.visits += 1
            passed.total += value
        self.paths.append(path)
        self._close(path)

    def _close(self, path: Sequence[Node]) -> None:
        """Close nodes whose slots are filled and whose children are all closed, from the bottom up."""
        for node in reversed(path):
            full = node.draws >= self.width and all(c.closed for c in node.children.values())
            node.closed = node.terminal or full

    def revalue(self, values: Sequence[float]) -> None:
        """Back up other values of the same simulations, where votes have changed what they are worth."""
        for node in self.nodes():
            node.total = 0.0
        for path, value in zip(self.paths, values, strict=True):
            for node in path:
                node.total += value

    def nodes(self) -> Iterator[Node]:
        """Every node, parents before their children."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children.values())

    def depth(self) -> int:
        """Steps on the longest path."""
        return max((len(path) - 1 for path in self.paths), default=0)

    def rows(self) -> list[dict[str, Any]]:
        """The tree for a reader, see `row`."""
        places: dict[int, int] = {}
        found = []
        for place, node in enumerate(self.nodes()):
            places[id(node)], above = place, node.parent
            found.append(
                row(
                    None if above is None else places[id(above)],
                    ()
                    if above is None or node.output is None
                    else node.output.part(above.length, node.length),
                    visits=node.visits,
                    value=node.mean,
                    complete=node.terminal,
                )
            )
        return found


def row(
    parent: int | None, ids: tuple[int, ...], *, visits: int, value: float, complete: bool
) -> dict[str, Any]:
    """A node for a reader: its parent's place (None: the root), its own step's tokens, visits and value."""
    return {"parent": parent, "ids": ids, "visits": visits, "value": value, "complete": complete}


def ask_from(node: Node) -> Ask:
    """Go on from a node, to the output's end."""
    return Ask(node.output, node.length)


def ancestors(node: Node) -> Iterator[Node]:
    """The node, its parent, and so on up to the root."""
    above: Node | None = node
    while above is not None:
        yield above
        above = above.parent
