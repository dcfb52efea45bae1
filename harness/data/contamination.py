"""Evaluation problems in training data: copies, and texts that share runs of 13 words. Names ids, never text.

    python -m harness.data.contamination --train math gsm8k --eval aime24 math500 --out report.json

Two texts are a copy if their words, numbers and signs are the same, and overlap by `share`, the part of the
evaluation problem's distinct 13-grams that one training problem holds. A 13-gram of MIN_COMMON or more
problems is a phrase of the trade ("where m and n are relatively prime positive integers find m"): counted
apart. Problems with fewer than 13 words are compared as copies alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.normalise import exact_key, words
from harness.types import Problem

N = 13
MIN_COMMON = 4  # problems, in both sets together, that make a 13-gram a phrase
HALF = 0.5

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
    holders: dict[Gram, list[int]] = defaultdict(list)
    for i, grams in enumerate(eval_grams):
        for gram in grams:
            holders[gram].append(i)
    held = [{gram for gram in grams if gram in holders} for grams in train_grams]
    uses = Counter(gram for grams in held for gram in grams)
    shared: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])  # 13-grams, of them phrases
    for t, grams in enumerate(held):
        for gram in grams:
            phrase = uses[gram] + len(holders[gram]) >= MIN_COMMON
            for e in holders[gram]:
                shared[t, e][0] += 1
                shared[t, e][1] += phrase
    copies: dict[str, list[int]] = defaultdict(list)
    for e, problem in enumerate(evaluation):
        copies[exact_key(problem.text)].append(e)
    exact = {(t, e) for t, p in enumerate(train) for e in copies.get(exact_key(p.text), ())}
    hits = []
    for t, e in sorted(exact | set(shared)):
        both, phrases = shared.get((t, e), (0, 0))
        share = both / max(len(eval_grams[e]), 1)
        hits.append(Hit(train[t].id, evaluation[e].id, (t, e) in exact, share, 0 < both == phrases))
    return Scan(len(train), len(evaluation), sum(not grams for grams in eval_grams), hits)


def _grams(text: str, vocabulary: dict[str, int]) -> set[Gram]:
    ids = [vocabulary.setdefault(word, len(vocabulary)) for word in words(text)]
    return set(zip(*(ids[i:] for i in range(N)), strict=False))


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0, whatever was found; 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.data.contamination",
        description="Scan training sets (presets of conf/data, or JSONL files) against evaluation sets.",
    )
    parser.add_argument("--train", nargs="+", required=True, metavar="SET")
    parser.add_argument("--eval", nargs="+", required=True, metavar="SET", dest="evaluation")
    parser.add_argument("--share", type=float, default=HALF, help="of 13-grams, from which a pair is listed")
    parser.add_argument("--out", type=Path, help="write the report (counts and pairs of ids) as JSON")
    parser.add_argument("--as-trained", action="store_true", help="after the preset has dropped its hits")
    options = parser.parse_args(argv)
    try:
        if options.out is not None:
            _check_out(options.out)
        train = {name: _problems(name, "train", options.as_trained) for name in options.train}
        evaluation = {name: _problems(name, "test", True) for name in options.evaluation}
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    reports = []
    print(f"{'train':<20} {'eval':<12} {'problems':>8} {'copies':>7} {'13-gram':>8} "
          f"{'no phrase':>10} {f'>= {options.share:g}':>7} {'seconds':>8}")  # fmt: skip
    for (left, ours), (right, theirs) in ((t, e) for t in train.items() for e in evaluation.items()):
        start = time.perf_counter()
        report = scan(ours, theirs).report(options.share)
        seconds = time.perf_counter() - start
        reports.append({"train": left, "eval": right, **report})
        counts = (report[k] for k in ("exact", "any_13gram", "any_13gram_not_phrase", "over_share"))
        copies, grams, plain, over = counts
        print(f"{left:<20} {right:<12} {len(theirs):>8} {copies:>7} {grams:>8} {plain:>10} {over:>7} "
              f"{seconds:>8.2f}")  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(reports, indent=1), encoding="utf-8")
    return 0


def _check_out(path: Path) -> None:
    """Raises ValueError if no report can be written there: better before a scan than after it."""
    if not path.parent.is_dir():
        raise ValueError(f"--out {path}: there is no folder {path.parent}; make it")
    if path.is_dir():
        raise ValueError(f"--out {path}: it is a folder; name a file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"--out {path}: not writable; choose another")


def _problems(name: str, split: str, as_trained: bool) -> list[Problem]:
    """A preset's training problems with their validation part, or its test; a JSONL file: every row."""
    from harness.data import jsonl
    from harness.data.documents import data_config
    from harness.data.load import load_split
    from harness.data.rows import problems_of

    if name.endswith(".jsonl"):
        path = Path(name)
        return problems_of(
            jsonl.read(path, name), dataset=path.stem, split=split, answer_range=None, bad_rows=[]
        )
    data = data_config(name)
    if not as_trained:
        data = data.model_copy(update={"drop_contaminated": [], "deduplicate": False})
    parts: Iterable[str] = ("train", "validation") if split == "train" else (split,)
    found = [p for part in parts for p in load_split(data, part)]
    if not found:
        raise ValueError(f"{name}: has no {split} split; choose another")
    return found


if __name__ == "__main__":
    sys.exit(main())
