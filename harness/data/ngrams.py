"""Overlap of two sets of problems: copies, and runs of 13 words that both hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.normalise import exact_key, words
from harness.types import Problem

N = 13  # words of an n-gram
MIN_COMMON = 4  # problems, in both sets together, that make a 13-gram a phrase
HALF = 0.5  # share of 13-grams from which a pair is listed

Gram = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A training problem that holds some of an evaluation problem; `phrases`: nothing but phrases of it."""

    train_id: str
    eval_id: str
    exact: bool
    share: float
    phrases: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """One training set against one evaluation set."""

    num_train: int
    num_eval: int
    num_short: int  # evaluation problems with fewer than N words
    hits: list[Hit]

    def over(self, share: float) -> list[Hit]:
        """Copies, and pairs with at least that share of 13-grams."""
        return [h for h in self.hits if h.exact or h.share >= share]

    def report(self, share: float = HALF) -> dict[str, Any]:
        """Counts of evaluation problems, and the pairs of ids at or above `share`; no text."""
        return {
            "num_train": self.num_train,
            "num_eval": self.num_eval,
            "exact": len({h.eval_id for h in self.hits if h.exact}),
            "any_13gram": len({h.eval_id for h in self.hits if h.share > 0}),
            "any_13gram_not_phrase": len({h.eval_id for h in self.hits if h.share > 0 and not h.phrases}),
            "share": share,
            "over_share": len({h.eval_id for h in self.over(share)}),
            "too_short_for_13grams": self.num_short,
            "pairs": [
                {"train_id": h.train_id, "eval_id": h.eval_id, "exact": h.exact, "share": round(h.share, 4)}
                for h in sorted(self.over(share), key=lambda h: (h.eval_id, h.train_id))
            ],
        }


def scan(train: Sequence[Problem], evaluation: Sequence[Problem]) -> Scan:
    """Every pair that shares a 13-gram or is a copy, in time linear in the words of both sets."""
    vocabulary: dict[str, int] = {}
    train_grams = [_grams(p.text, vocabulary) for p in train]
    eval_grams = [_grams(p.text, vocabulary) for p in evaluation]
    shared = _shared(train_grams, eval_grams)
    exact = _copies(train, evaluation)
    hits = []
    for t, e in sorted(exact | set(shared)):
        both, phrases = shared.get((t, e), (0, 0))
        share = both / max(len(eval_grams[e]), 1)
        hits.append(Hit(train[t].id, evaluation[e].id, (t, e) in exact, share, 0 < both == phrases))
    return Scan(len(train), len(evaluation), sum(not grams for grams in eval_grams), hits)


def _shared(
    train_grams: Sequence[set[Gram]], eval_grams: Sequence[set[Gram]]
) -> dict[tuple[int, int], list[int]]:
    """Numbers of 13-grams, and of phrases among them, that a pair (train, evaluation) shares, if any."""
    owners: dict[Gram, list[int]] = defaultdict(list)
    for i, grams in enumerate(eval_grams):
        for gram in grams:
            owners[gram].append(i)
    common = [{gram for gram in grams if gram in owners} for grams in train_grams]
    uses = Counter(gram for grams in common for gram in grams)
    shared: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for t, grams in enumerate(common):
        for gram in grams:
            phrase = uses[gram] + len(owners[gram]) >= MIN_COMMON
            for e in owners[gram]:
                shared[t, e][0] += 1
                shared[t, e][1] += phrase
    return shared


def _copies(train: Sequence[Problem], evaluation: Sequence[Problem]) -> set[tuple[int, int]]:
    """Pairs (train, evaluation) of problems with the same words, numbers and signs."""
    places: dict[str, list[int]] = defaultdict(list)
    for e, problem in enumerate(evaluation):
        places[exact_key(problem.text)].append(e)
    return {(t, e) for t, p in enumerate(train) for e in places.get(exact_key(p.text), ())}


def _grams(text: str, vocabulary: dict[str, int]) -> set[Gram]:
    ids = [vocabulary.setdefault(word, len(vocabulary)) for word in words(text)]
    return set(zip(*(ids[i:] for i in range(N)), strict=False))
