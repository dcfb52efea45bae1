"""Evaluation problems in training data: copies, and texts that share runs of 13 words. Names ids, never text.

    python -m harness.data.contamination --train math gsm8k --eval aime24 math500 --out report.json

Words are those of any script; a character is one where no blanks part words (Han, Kana, Thai). Two texts
are a copy if their words, numbers and signs are the same, and overlap by `share`, the part of the
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
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.data.ngrams import HALF, scan
from harness.types import Problem

_ROW = "{:<20} {:<12} {:>8} {:>7} {:>8} {:>10} {:>7} {:>8}"


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
    head = ("train", "eval", "problems", "copies", "13-gram", "no phrase", f">= {options.share:g}", "seconds")
    print(_ROW.format(*head))
    for (left, ours), (right, theirs) in ((t, e) for t in train.items() for e in evaluation.items()):
        start = time.perf_counter()
        report = scan(ours, theirs).report(options.share)
        seconds = time.perf_counter() - start
        reports.append({"train": left, "eval": right, **report})
        counts = [report[k] for k in ("exact", "any_13gram", "any_13gram_not_phrase", "over_share")]
        print(_ROW.format(left, right, len(theirs), *counts, f"{seconds:.2f}"))
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
