r"""Generated AIME-style problems: integer answers 0-999, levels 1-5, a worked derivation for each.

A problem belongs to exactly one bucket, sha256(family | canonical form) mod 100, and the canonical form is
equal for problems that are the same up to symmetry (gcd(a, b) = gcd(b, a)) and knows nothing of levels; so
the pretraining corpus (0-59), train (60-69), perturbed (70-79), validation (80-89) and test (90-99) never
share a problem. A derivation reads `17*23=391;391+5=396;396 mod 7=4;\boxed{4}`: each step is one true
operation on integers and the last one gives the answer; a direct answer is `\boxed{4}` alone.

Number of steps at levels 1-5, over all families: at most 20, 30, 40, 60, 80. A split of ten buckets holds at
least 200 problems of every family of aime_gen_mini at levels 1 and 2, and 60 of every family at every level.
Pure Python, no torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from random import Random

from harness.data.families.family import Derivation
from harness.data.families.instance import (
    DATASET,
    FAMILIES,
    LEVELS,
    Instance,
    bucket_name,
    candidate,
    check_names,
    generate,
    twin,
)
from harness.data.splits import (
    CORPUS_BUCKETS,
    SEED_STRIDE,
    SPLIT_BUCKETS,
    balanced,
    bucket_of,
    stream,
    unique,
)
from harness.types import Problem

__all__ = [
    "FAMILIES",
    "LEVELS",
    "Instance",
    "best_constant",
    "bucket",
    "completion",
    "corpus",
    "generate",
    "load",
]

GENERATOR_VERSION = 3  # part of every data hash: raise it with any change to what is generated

SPLITS = tuple(SPLIT_BUCKETS)
STYLES = ("full", "terse")
_TWIN_DRAWS = 20_000  # draws of other numbers before a problem is said to have no perturbation

# Shares of worked, direct and sloppy documents in each corpus mix.
CORPUS_MIXES = {"mixed": (0.5, 0.3, 0.2), "clean": (1.0, 0.0, 0.0), "direct": (0.0, 1.0, 0.0)}


def bucket(instance: Instance) -> int:
    """0-99, from the canonical form alone."""
    return bucket_of(bucket_name(instance.family), instance.canonical)


def completion(steps: Sequence[str], answer: int) -> str:
    r"""`step;step;\boxed{answer}`; no steps make a direct answer."""
    return ";".join([*steps, rf"\boxed{{{answer}}}"])


def load(
    split: str,
    *,
    num_problems: int,
    families: Sequence[str],
    levels: Sequence[int],
    style: str,
    seed: int,
) -> list[Problem]:
    """`num_problems` problems of a split, balanced over families x levels; every prefix is balanced too.

    Problem i of "perturbed" changes only the numbers of problem i of "train" with the same arguments and
    names it in `pair_id`. For "heldout" the caller passes the families that it keeps out of training.
    Raises ValueError for an unknown split, family, level or style, and where a family x level has too few
    problems in the split.
    """
    _check_request(families, levels, style)
    check_names("split", [split], SPLITS)
    if num_problems < 1:
        raise ValueError(f"num_problems={num_problems}: must be at least 1")
    if split == "perturbed":
        originals = _split_instances("train", num_problems, families, levels, seed)
        instances = _perturbations(originals, seed)
    else:
        instances = _split_instances(split, num_problems, families, levels, seed)
    return [
        Problem(
            id=_problem_id(split, index, instance),
            dataset=DATASET,
            split=split,
            text=instance.text if style == "full" else instance.terse,
            answer=str(instance.answer),
            topic=instance.topic,
            level=instance.level,
            solution=completion(instance.steps, instance.answer),
            pair_id=_problem_id("train", index, instance) if split == "perturbed" else None,
            parts=instance.parts,
        )
        for index, instance in enumerate(instances)
    ]


def corpus(
    *,
    mix: str,
    num_documents: int,
    families: Sequence[str],
    levels: Sequence[int],
    style: str,
    seed: int,
) -> Iterator[tuple[str, str]]:
    """(problem text, completion) pairs for pretraining, from the corpus bucket alone; problems may recur.

    mix "clean": worked derivations only. "mixed": worked, direct answers and sloppy derivations (the result
    of one step is off and carried on, hence usually a wrong answer) in the shares of CORPUS_MIXES. "direct":
    right answers only. Raises ValueError as `load` does.
    """
    _check_request(families, levels, style)
    check_names("mix", [mix], CORPUS_MIXES)
    if num_documents < 1:
        raise ValueError(f"num_documents={num_documents}: must be at least 1")
    return _documents(mix, num_documents, families, levels, style, seed)


def best_constant(problems: Sequence[Problem]) -> tuple[str, float]:
    """The answer that is right most often, and its accuracy; of equally good ones the smallest."""
    if not problems:
        raise ValueError("problems: empty, there is no best constant answer")
    counts = Counter(problem.answer for problem in problems)
    answer = min(counts, key=lambda given: (-counts[given], int(given)))
    return answer, counts[answer] / len(problems)


def _documents(
    mix: str, num_documents: int, families: Sequence[str], levels: Sequence[int], style: str, seed: int
) -> Iterator[tuple[str, str]]:
    rng = stream(DATASET, "corpus", seed)
    cells = [(family, level) for family in families for level in levels]
    candidates = count(seed * SEED_STRIDE)
    for _ in range(num_documents):
        family, level = rng.choice(cells)
        instance = next(found for i in candidates if (found := candidate(family, level, i, CORPUS_BUCKETS)))
        (kind,) = rng.choices(("worked", "direct", "sloppy"), weights=CORPUS_MIXES[mix])
        answer, steps = instance.answer, list(instance.steps)
        if kind == "direct":
            steps = []
        elif kind == "sloppy":
            answer, steps = _sloppy(instance, rng)
        yield (instance.text if style == "full" else instance.terse), completion(steps, answer)


def _sloppy(instance: Instance, rng: Random) -> tuple[int, list[str]]:
    """(answer, steps) of a derivation with one slip; the program that found the answer runs on with it."""
    derive = FAMILIES[instance.family].derive
    while True:
        slip = rng.choice((-10, -2, -1, 1, 2, 10))
        work = Derivation(slip_at=rng.randrange(len(instance.steps)), slip=slip)
        try:
            answer = derive(instance.params, work)
        except ArithmeticError:  # the slip led out of the non-negative integers
            continue
        if answer <= 999:
            return answer, work.steps


def _split_instances(
    split: str, num_problems: int, families: Sequence[str], levels: Sequence[int], seed: int
) -> list[Instance]:
    order = stream(DATASET, "order", split, seed)
    return balanced(candidate, split, num_problems, families, levels, seed, order)


def _perturbations(originals: Sequence[Instance], seed: int) -> list[Instance]:
    """For each problem another one of its family, level and wording, from the perturbed bucket."""
    waiting: dict[tuple[str, int], dict[str, list[int]]] = {}
    found: dict[int, Instance] = {}
    seen: set[tuple[str, str]] = set()
    for index, original in enumerate(originals):
        if FAMILIES[original.family].redraw is None:
            wordings = waiting.setdefault((original.family, original.level), {})
            wordings.setdefault(_wording(original), []).append(index)
        elif (other := _twin(original, seed, seen)) is not None:
            found[index] = other
    for (family, level), wordings in waiting.items():
        left = sum(map(len, wordings.values()))
        for instance in unique(candidate, "perturbed", family, level, seed, seen, wanted=10**9):
            if indices := wordings.get(_wording(instance)):
                found[indices.pop(0)] = instance
                left -= 1
            if left == 0:
                break
    _check_all_found(originals, found)
    return [found[index] for index in range(len(originals))]


def _twin(original: Instance, seed: int, seen: set[tuple[str, str]]) -> Instance | None:
    """A problem with the original's wording, of the perturbed bucket, that is not in `seen` yet."""
    for i in range(seed * SEED_STRIDE, seed * SEED_STRIDE + _TWIN_DRAWS):
        other = twin(original, i, SPLIT_BUCKETS["perturbed"])
        if other is not None and (other.family, other.canonical) not in seen:
            seen.add((other.family, other.canonical))
            return other
    return None


def _check_all_found(originals: Sequence[Instance], found: Mapping[int, Instance]) -> None:
    """Raises ValueError for the first cell with a problem that has no perturbation."""
    missing = [(o.family, o.level) for i, o in enumerate(originals) if i not in found]
    if missing:
        family, level = missing[0]
        wanted = sum((o.family, o.level) == missing[0] for o in originals)
        raise ValueError(
            f"num_problems={len(originals)}: only {wanted - missing.count(missing[0])} of {wanted} training "
            f"problems of {family} at level {level} have a perturbation; lower num_problems or name more "
            "families or levels"
        )


def _wording(instance: Instance) -> str:
    """The statement with its numbers blotted out."""
    return re.sub(r"\d+", "#", f"{instance.text}|{instance.terse}")


def _problem_id(split: str, index: int, instance: Instance) -> str:
    return f"{DATASET}/{split}/{index:06d}-{instance.family}-L{instance.level}"


def _check_request(families: Sequence[str], levels: Sequence[int], style: str) -> None:
    check_names("families", families, FAMILIES)
    for family in families:
        try:
            check_names("levels", levels, FAMILIES[family].levels)
        except ValueError as error:
            raise ValueError(f"{error} (levels of {family})") from None
    check_names("style", [style], STYLES)
