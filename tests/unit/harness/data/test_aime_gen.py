from __future__ import annotations

import hashlib
import math
import re
import subprocess
import sys
from collections import Counter

import pytest

from harness.data import aime_gen
from harness.data.aime_gen import FAMILIES, LEVELS, generate
from harness.data.documents import data_config
from harness.types import Problem
from tests.unit.harness.data import solvers

# sha256, shortened, of what each family generates under generator version 1. A new family adds a line; a
# change of a line needs a new GENERATOR_VERSION: the problems of earlier runs are then no longer the same.
GOLDEN_VERSION = 3
GOLDEN = {
    "remainder": "ac47b09cdf2a",
    "gcd": "5e0359d39689",
    "digit_sum": "1a8a837514e8",
    "power_mod": "b2707132fe48",
    "divisors": "6bc992ed07d5",
    "factorial_power": "9a9082177707",
    "congruences": "73241d82d7be",
    "linear_equation": "04a1330d4fb4",
    "system": "0978e973404c",
    "roots": "722f0ac6bbd9",
    "composition": "96c98e0ab64b",
    "polynomial": "025c0bc50915",
    "multiples": "c4f3095a6732",
    "committee": "d3fd1494243f",
    "solutions": "e733e7ed19a0",
    "league": "3c8371f043ec",
    "balls": "f58d2bd1991b",
    "dice": "f81a39b2f25c",
    "lattice_polygon": "acc8d08e4739",
    "rectangle": "5c729c4251f1",
    "painted_box": "1156575e9ec9",
    "power_of_point": "56b9d5561b54",
    "arithmetic": "60dd57be0813",
    "geometric": "f2e7c47d5ad7",
    "recurrence": "305b75fa0735",
    "telescoping": "894da5c3f3ba",
}
_PRESET = data_config("aime_gen_mini")
MINI_FAMILIES = [*_PRESET.families, *_PRESET.heldout_families]
MAX_STEPS_BY_LEVEL = {1: 20, 2: 30, 3: 40, 4: 60, 5: 80}
CELLS = [(family, level) for family in FAMILIES for level in LEVELS]
MINI = {"families": MINI_FAMILIES, "levels": (1, 2), "style": "terse", "seed": 0}


def step_is_true(step: str) -> bool:
    """`a op b=c`, `gcd(a,b)=c`, `C(n,k)=c` or `n!=c`, checked without the generator's arithmetic."""
    if found := re.fullmatch(r"(\d+)(\+|-|\*|/|\^| mod )(\d+)=(\d+)", step):
        a, b, c = int(found[1]), int(found[3]), int(found[4])
        equations = {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b * c == a}
        return equations.get(
            found[2], c == pow(a, b) if found[2] == "^" else c in range(b) and (a - c) % b == 0
        )
    if found := re.fullmatch(r"gcd\((\d+),(\d+)\)=(\d+)", step):
        return math.gcd(int(found[1]), int(found[2])) == int(found[3])
    if found := re.fullmatch(r"C\((\d+),(\d+)\)=(\d+)", step):
        return math.comb(int(found[1]), int(found[2])) == int(found[3])
    found = re.fullmatch(r"(\d+)!=(\d+)", step)
    return bool(found) and math.prod(range(1, int(found[1]) + 1)) == int(found[2])


@pytest.mark.parametrize(
    "step",
    ["2+3=6", "7-2=4", "3*4=13", "9/2=4", "2^5=31", "9 mod 7=9", "gcd(4,6)=1", "C(4,2)=5", "3!=7", "1=1"],
)
def test_the_step_checker_rejects_untrue_steps(step: str) -> None:
    assert not step_is_true(step)


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_an_independent_solver_of_the_english_statement_finds_the_answer(family: str, level: int) -> None:
    solve = getattr(solvers, family)
    for seed in range(12):
        instance = generate(family, level, seed)
        assert solve(instance.text) == instance.answer, instance


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_every_step_is_true_and_the_last_one_gives_the_answer(family: str, level: int) -> None:
    for seed in range(40):
        instance = generate(family, level, seed)
        assert all(step_is_true(step) for step in instance.steps), instance
        assert instance.steps[-1].rpartition("=")[2] == str(instance.answer)
        assert 0 <= instance.answer <= 999
        assert 1 <= len(instance.steps) <= MAX_STEPS_BY_LEVEL[level]


def test_derivations_grow_with_the_level() -> None:
    means = [
        sum(len(generate(family, level, seed).steps) for family in FAMILIES for seed in range(20))
        for level in LEVELS
    ]
    assert means == sorted(means)
    assert means[-1] > 2 * means[0]


def test_a_problem_is_a_function_of_family_level_and_seed() -> None:
    code = (
        "from harness.data.aime_gen import generate; print([generate('gcd', 3, s).terse for s in range(5)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str([generate("gcd", 3, seed).terse for seed in range(5)])
    assert len({generate("gcd", 3, seed).terse for seed in range(50)}) > 40


def test_generated_problems_change_only_with_the_version() -> None:
    digests = {}
    for family in FAMILIES:
        said = [
            f"{x.level} {x.text} {x.terse} {aime_gen.completion(x.steps, x.answer)} {aime_gen.bucket(x)}"
            for x in (generate(family, level, seed) for level in LEVELS for seed in (0, 7))
        ]
        digests[family] = hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]
    assert aime_gen.GENERATOR_VERSION == GOLDEN_VERSION
    assert digests == GOLDEN
    assert (generate("gcd", 1, 0).terse, generate("gcd", 1, 0).answer) == ("gcd(49,63)", 7)


def test_importing_the_generator_loads_nothing_heavy() -> None:
    code = "import sys, harness.data.aime_gen; print({'torch', 'numpy', 'tokenizers'} & set(sys.modules))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("family", "one", "same", "different"),
    [
        ("remainder", (2, 7, 17, 23, 5), (2, 7, 23, 17, 5), (2, 7, 17, 5, 23)),
        ("gcd", (0, 84, 36), (0, 36, 84), (0, 84, 35)),
        ("digit_sum", (2, 47, 6, 35), (3, 6, 47, 35), (2, 47, 35, 6)),
        ("linear_equation", (1, 3, 5, 26), (1, 6, 10, 52), (1, 3, 5, 29)),
        ("linear_equation", (4, 3, 5, 2, 7, 99), (4, 2, 7, 3, 5, 99), (4, 2, 5, 3, 7, 99)),
        ("multiples", (3, 100, 4, 6), (3, 100, 6, 4), (4, 100, 4, 6)),
        ("league", (3, 8, 6, 3, 2), (3, 6, 8, 3, 2), (3, 8, 6, 2, 3)),
        # reflected in the diagonal, then moved by (3, 1) and started from another vertex
        ("lattice_polygon", (0, 0, 4, 1, 2, 5), (0, 0, 5, 2, 1, 4), (0, 0, 4, 1, 2, 6)),
        ("lattice_polygon", (0, 0, 4, 1, 2, 5), (5, 6, 3, 1, 7, 2), (0, 0, 4, 1, 3, 5)),
        ("arithmetic", (2, 5, 4, 12), (3, 5, 4, 12), (1, 5, 4, 12)),
        ("factorial_power", (5, 2, 300, 400), (5, 2, 400, 300), (5, 1, 300, 400)),
        ("congruences", (1, 0, 7, 2, 5, 3), (1, 0, 5, 3, 7, 2), (1, 0, 7, 3, 5, 2)),
        ("system", (5, 3, 4, 7), (5, 7, 3, 4), (5, 3, 4, 8)),
        ("polynomial", (1, 3, 0, 2, 5, 7), (2, 3, 0, 2, 5, 7), (1, 3, 0, 2, 7, 5)),
        ("committee", (1, 9, 7, 2, 3), (1, 7, 9, 3, 2), (2, 9, 7, 2, 3)),
        ("solutions", (2, 30, 2, 5, 9), (2, 30, 9, 2, 5), (2, 31, 2, 5, 9)),
        ("balls", (3, 5, 9, 4), (3, 9, 4, 5), (5, 5, 9, 4)),
        ("dice", (4, 6, 7, 8, 9), (4, 6, 9, 8, 7), (5, 6, 7, 8, 9)),
        ("rectangle", (2, 9, 7, 3), (2, 7, 9, 3), (1, 9, 7)),
        ("painted_box", (2, 5, 8, 9), (2, 9, 5, 8), (3, 5, 8, 9)),
        ("power_of_point", (1, 6, 10, 4), (1, 10, 6, 4), (2, 6, 10, 4)),
    ],
)
def test_problems_equal_up_to_symmetry_share_a_canonical_form(
    family: str, one: tuple[int, ...], same: tuple[int, ...], different: tuple[int, ...]
) -> None:
    state = FAMILIES[family].state
    assert state(one).canonical == state(same).canonical != state(different).canonical


def test_equal_statements_mean_equal_canonical_forms() -> None:
    forms: dict[str, tuple[str, str]] = {}
    for family, level in CELLS:
        for seed in range(100):
            instance = generate(family, level, seed)
            for said in (instance.text, instance.terse):
                assert forms.setdefault(said, (family, instance.canonical)) == (family, instance.canonical)


def statements_with(split: str, **changes: object) -> list[Problem]:
    return aime_gen.load(split, **{"num_problems": 400, **MINI, **changes})  # type: ignore[arg-type]


def test_splits_and_corpus_share_no_problem() -> None:
    by_split = {
        split: {p.text for p in statements_with(split)} for split in aime_gen.SPLITS if split != "heldout"
    }
    by_split["corpus"] = {text for text, _ in aime_gen.corpus(mix="mixed", num_documents=4000, **MINI)}
    assert sum(map(len, by_split.values())) == len(set.union(*by_split.values()))
    assert all(len(by_split[split]) == 400 for split in by_split if split != "corpus")


def test_a_split_is_reproducible_balanced_and_named() -> None:
    problems = statements_with("test", num_problems=160)
    assert problems == statements_with("test", num_problems=160)
    assert {p.text for p in problems} != {p.text for p in statements_with("test", num_problems=160, seed=1)}
    cells = len(MINI_FAMILIES) * 2
    for size in (cells, 2 * cells, 160):  # every prefix of whole rounds is balanced
        share = Counter(re.sub(r".*/\d+-", "", p.id) for p in problems[:size])
        assert max(share.values()) - min(share.values()) <= 1
    assert re.fullmatch(r"aime_gen/test/000003-\w+-L[12]", problems[3].id)
    assert all(p.solution and p.solution.endswith(rf"\boxed{{{p.answer}}}") for p in problems)
    full = statements_with("test", num_problems=160, style="full")
    assert [(p.id, p.answer) for p in full] == [(p.id, p.answer) for p in problems]


@pytest.mark.parametrize("style", aime_gen.STYLES)
def test_a_perturbation_changes_only_the_numbers_of_its_training_problem(style: str) -> None:
    request = {"num_problems": 200, "families": tuple(FAMILIES), "levels": LEVELS, "style": style, "seed": 3}
    train, perturbed = (aime_gen.load(split, **request) for split in ("train", "perturbed"))  # type: ignore[arg-type]
    assert len({p.text for p in perturbed} | {p.text for p in train}) == 400
    for one, other in zip(train, perturbed, strict=True):
        assert other.pair_id == one.id and other.id == one.id.replace("train", "perturbed")
        assert re.sub(r"\d+", "#", one.text) == re.sub(r"\d+", "#", other.text)
        assert (one.level, one.topic) == (other.level, other.topic)


@pytest.mark.parametrize(("family", "level"), [(f, level) for f in MINI_FAMILIES for level in (1, 2)])
def test_mini_cells_hold_200_problems_in_every_bucket(family: str, level: int) -> None:
    kept: dict[int, set[str]] = {bucket: set() for bucket in range(10)}
    for seed in range(30_000):
        instance = generate(family, level, seed)
        kept[aime_gen.bucket(instance) // 10].add(instance.canonical)
        if seed % 500 == 0 and min(map(len, kept.values())) >= 200:
            break
    assert min(map(len, kept.values())) >= 200


def corpus_kind(completion: str) -> str:
    *steps, last = completion.split(";")
    assert re.fullmatch(r"\\boxed\{\d{1,3}\}", last)
    if not steps:
        return "direct"
    # one slip, then true steps on a wrong number, but for divisions that no longer come out
    untrue = [step for step in steps if not step_is_true(step)]
    assert all("/" in step for step in untrue[1:])
    assert last == rf"\boxed{{{steps[-1].rpartition('=')[2]}}}"
    return "sloppy" if untrue else "worked"


def test_the_corpus_has_the_stated_mix() -> None:
    documents = aime_gen.corpus(mix="mixed", num_documents=4000, **MINI)
    kinds = Counter(corpus_kind(completion) for _, completion in documents)
    # 4000 documents: the standard error of a share is at most 0.8 points, so 3 points are 3.8 of them
    assert [kinds[kind] / 4000 for kind in ("worked", "direct", "sloppy")] == pytest.approx(
        [0.5, 0.3, 0.2], abs=0.03
    )


def test_a_clean_corpus_is_all_true_derivations() -> None:
    documents = list(aime_gen.corpus(mix="clean", num_documents=500, **MINI))
    assert documents == list(aime_gen.corpus(mix="clean", num_documents=500, **MINI))
    assert all(step_is_true(step) for _, done in documents for step in done.split(";")[:-1])
    assert all(";" in done for _, done in documents)


def test_direct_answers_are_right_and_most_sloppy_ones_wrong() -> None:
    answers = {
        p.terse: p.answer
        for f in MINI_FAMILIES
        for n in (1, 2)
        for p in (generate(f, n, s) for s in range(1500))
    }
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for text, done in aime_gen.corpus(mix="mixed", num_documents=4000, **MINI):
        kind = corpus_kind(done)
        if text in answers:
            seen[kind] += 1
            right[kind] += done.endswith(rf"\boxed{{{answers[text]}}}")
    assert right["worked"] == seen["worked"] > 100
    assert right["direct"] == seen["direct"] > 100
    assert right["sloppy"] < 0.3 * seen["sloppy"]


def test_best_constant() -> None:
    problems = [
        Problem(str(i), "d", "test", "q", answer) for i, answer in enumerate(["7", "3", "7", "3", "5"])
    ]
    assert aime_gen.best_constant(problems) == ("3", 0.4)  # 3 and 7 twice each of five; the smaller is named


def test_no_constant_answers_many_mini_problems() -> None:
    assert aime_gen.best_constant(statements_with("test"))[1] < 0.06


@pytest.mark.parametrize(
    ("call", "changes", "message"),
    [
        ("test", {"families": ["gdc"]}, r"families='gdc': unknown; did you mean gcd"),
        ("test", {"families": "gcd"}, r"families='gcd': give a list"),
        ("test", {"families": []}, r"families=\[\]: give a list"),
        ("test", {"families": ["gcd", "gcd"]}, r"different values"),
        ("test", {"levels": [6]}, r"levels=6: unknown; use one of 1, 2, 3, 4, 5"),
        ("test", {"style": "terce"}, r"style='terce': unknown; did you mean terse"),
        ("tests", {}, r"split='tests': unknown; did you mean test"),
        ("test", {"num_problems": 0}, r"num_problems=0: must be at least 1"),
        (
            "test",
            {"families": ["rectangle"], "levels": [1], "num_problems": 999},
            r"needs 999 problems of rectangle at level 1 in split test, which has about \d\d+; lower",
        ),
    ],
)
def test_bad_requests_name_field_value_and_remedy(
    call: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        statements_with(call, **changes)
    assert "\n" not in str(error.value)


def test_an_unknown_mix_is_refused_before_the_first_document() -> None:
    with pytest.raises(ValueError, match=r"mix='mixd': unknown; did you mean mixed"):
        aime_gen.corpus(mix="mixd", num_documents=10, **MINI)
