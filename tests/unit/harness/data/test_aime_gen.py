from __future__ import annotations

import hashlib
import math
import re
import subprocess
import sys
from collections import Counter

import pytest

from harness.data import aime_gen
from harness.data.aime_gen import FAMILIES, generate
from harness.data.documents import data_config
from harness.data.families.family import Derivation, Family
from harness.data.families.instance import TOKENIZED, bucket_name
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
    "atom_product": "0b7e24bbad18",
    "atom_mod": "bcdca13ef2c3",
    "atom_gcd": "b6d622583d37",
    "atom_digits": "26433e7b0bf7",
    "atom_divisors": "9feb865fc2cf",
    "digits_product": "d0ca1fdae587",
    "divisors_gcd": "48e27caf98ff",
    "gcd_mod": "02252117414c",
    "product_gcd": "752f0930ce79",
    "divisors_mod": "546071f61361",
    "product_digits": "00b3410090a5",
    "gcd_product": "b26edf2e2377",
    "digits_mod": "710115b5412d",
    "digits_mod_product": "3306cf019d8b",
    "divisors_gcd_mod": "107e7ff98fca",
    "gcd_mod_product": "623b954742c1",
    "product_digits_product": "1a690d211d1a",
    "product_mod": "fae1810ec1e5",
    "product_divisors": "135bfa670ad7",
    "digits_gcd": "320b602c644b",
    "gcd_digits": "7fba584d06ad",
    "mod_gcd": "3baa03b8cd61",
    "mod_digits": "33a4e6ed480a",
    "product_gcd_mod": "a69b40c1dec5",
    "product_digits_mod": "01e6dad607b1",
    "product_mod_product": "35c3675f80e1",
    "product_gcd_digits": "5494032103bc",
    "product_gcd_product": "8f39bc7fb9f7",
    "product_digits_gcd": "a58cddddfc4d",
    "mod_mod": "bd4be125b4fd",
    "product_product": "6b4a1cbe962b",
    "product_mod_gcd": "545c95c6d02a",
    "product_mod_digits": "5ef2ab4b068f",
    "product_mod_mod": "25c4c5eed774",
    "chain": "47bb0c55a1f6",
    "dag": "be4c0e442ce2",
}
_PRESET = data_config("aime_gen_mini")
MINI_FAMILIES = [*_PRESET.families, *_PRESET.heldout_families]
MAX_STEPS_BY_LEVEL = {1: 20, 2: 30, 3: 40, 4: 60, 5: 80, 6: 80, 7: 80, 8: 80}
CELLS = [(family, level) for family in FAMILIES for level in FAMILIES[family].levels]
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
    topic = FAMILIES[family].topic
    solve = solvers.atom if topic in ("atoms", "composites") else getattr(solvers, family)
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
        sum(len(generate(family, level, seed).steps) for family in TOKENIZED for seed in range(20))
        for level in (1, 2, 3, 4, 5)
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
            for x in (generate(family, n, seed) for n in FAMILIES[family].levels for seed in (0, 7))
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
        ("atom_product", (37, 8), (8, 37), (37, 9)),
        ("digits_product", (37, 8, 0), (8, 37, 0), (37, 9, 0)),
        ("product_gcd", (48, 36, 5), (36, 48, 5), (48, 5, 36)),
        ("chain", (7, 0, 5, 2, 3), (5, 0, 7, 2, 3), (7, 1, 5, 2, 3)),  # (7+5)*3, (5+7)*3, (7-5)*3
        # a=7+5, b=a*3 and a=b*3, b=5+7 are one problem; a=7-5 is none of it
        ("dag", (0, 0, 7, 5, 1, 2, -1, 3), (1, 0, 5, 7, 0, 2, -1, 3), (0, 1, 7, 5, 1, 2, -1, 3)),
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
            form = (bucket_name(family), instance.canonical)
            for said in (instance.text, instance.terse):
                assert forms.setdefault(said, form) == form


def statements_with(split: str, **changes: object) -> list[Problem]:
    return aime_gen.load(split, **{"num_problems": 400, **MINI, **changes})


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


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("style", aime_gen.STYLES)
def test_a_perturbation_changes_only_the_numbers_of_its_training_problem(style: str, deep: bool) -> None:
    families = ("chain", "dag") if deep else TOKENIZED
    levels = range(1, 9) if deep else range(1, 6)
    request = {"num_problems": 200, "families": families, "levels": levels, "style": style, "seed": 3}
    train, perturbed = (aime_gen.load(split, **request) for split in ("train", "perturbed"))
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
        ("test", {"families": ["gcd", "digits_mod"], "levels": [4]}, r"levels=4: .*1, 2, 3.*of digits_mod"),
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


@pytest.mark.parametrize("family", ["chain", "dag"])
def test_the_level_is_the_number_of_operations(family: str) -> None:
    for level in range(1, 9):
        for seed in range(30):
            instance = generate(family, level, seed)
            assert len(instance.steps) == level == len(instance.parts) + 1
            assert all(0 <= int(step.rpartition("=")[2]) <= 99 for step in instance.steps)


def test_every_operation_of_a_graph_is_needed() -> None:
    # a letter that nothing uses is the one that is asked for
    for level in range(1, 9):
        for seed in range(30):
            *lines, asked = generate("dag", level, seed).terse.split(",")
            used = set("".join(line.partition("=")[2] for line in lines)) & set("abcdefgh")
            assert {line[0] for line in lines} - used == {asked[0]}


def test_the_order_of_statement_does_not_tell_the_order_of_operations() -> None:
    last = Counter(generate("dag", 4, seed).terse[-2] for seed in range(400))
    # each of four places is 100 +- 8.7; 40 away is 4.6 of these
    assert set(last) == set("abcd") and max(last.values()) - 100 < 40 and 100 - min(last.values()) < 40


COMPOSITES = [family for family in FAMILIES.values() if family.topic == "composites"]


@pytest.mark.parametrize("family", COMPOSITES, ids=lambda family: family.name)
def test_a_composite_cannot_be_answered_without_its_parts(family: Family) -> None:
    """Each part is a step's result, differs from the answer and from what is given, and is not trivial."""
    depth = len(family.name.split("_"))
    for level in family.levels:
        for seed in range(60):
            instance = generate(family.name, level, seed)
            results = [int(step.rpartition("=")[2]) for step in instance.steps]
            given = set(map(int, re.findall(r"\d+", instance.terse)))
            values = [*instance.parts, instance.answer]
            assert len(instance.parts) == depth - 1 and set(values) <= set(results)
            assert len(set(values)) == depth and not set(values) & given and min(values) >= 3


@pytest.mark.parametrize("family", COMPOSITES, ids=lambda family: family.name)
def test_each_part_of_a_composite_is_an_atom_of_its_level(family: Family) -> None:
    """Its operands lie in the atom's own range, so that a base that knows the atoms knows each part."""
    for level in family.levels:
        tops = {
            name: max(max(generate(f"atom_{name}", level, seed).params) for seed in range(800))
            for name in family.name.split("_")
        }
        for seed in range(60):
            instance = generate(family.name, level, seed)
            for name, value in zip(
                reversed(family.name.split("_")), [instance.params[0], *instance.parts], strict=True
            ):
                assert value <= tops[name] * 1.02 + 1, (instance, name)


def test_worked_atom_by_hand() -> None:
    # 12 = 2^2 * 3: 1, 2, 3, 4, 6, 12
    work = Derivation()
    assert FAMILIES["atom_divisors"].derive((12, 0), work) == 6
    assert work.steps == ["12/2=6", "1+1=2", "6/2=3", "2+1=3", "3/3=1", "1+1=2", "3*2=6"]
    # 14*3 = 42, 42 mod 23 = 19, 1+9 = 10
    work = Derivation()
    assert FAMILIES["digits_mod_product"].derive((14, 3, 23, 0), work) == 10
    assert (work.steps, work.parts) == (["14*3=42", "42 mod 23=19", "1+9=10"], [42, 19])


def test_a_corpus_may_hold_any_fact_and_no_other_problem_of_a_split() -> None:
    asked = {"levels": (1,), "style": "terse", "seed": 0}
    facts = {
        t for t, _ in aime_gen.corpus(mix="clean", num_documents=2000, families=("atom_divisors",), **asked)
    }
    assert len(facts) == 57  # divisors of 4 to 60: all of them, where six tenths would be 34
    shared = {t for t, _ in aime_gen.corpus(mix="clean", num_documents=3000, families=("atom_gcd",), **asked)}
    buckets = {
        aime_gen.bucket_of("gcd", f"0:{a},{b}")
        for a, b in (sorted(map(int, re.findall(r"\d+", t))) for t in shared)
    }
    assert max(buckets) == 59  # gcd(a,b) is one problem of both families, and in one split
