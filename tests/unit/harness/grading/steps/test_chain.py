"""Valid chains by hand: what a derivation must show, and the template that it leaves."""

from __future__ import annotations

import pytest

from harness.data.families.instance import FAMILIES, generate
from harness.grading.steps.chain import Chain, chain_of
from harness.grading.steps.check import check_steps

PROBLEM, ANSWER, PARTS = "digits(14*3 mod 23)", "10", (42, 19)  # 14*3 = 42, 42 mod 23 = 19, 1+9 = 10


def chain(
    text: str, answer: str | None = ANSWER, problem: str = PROBLEM, parts: tuple[int, ...] = PARTS
) -> Chain:
    return chain_of(text, problem=problem, answer=answer, parts=parts)


def test_a_worked_derivation_is_valid_and_its_numbers_are_blotted_out() -> None:
    found = chain(r"14*3=42;42 mod 23=19;1+9=10;\boxed{10}")
    assert found == Chain(True, "p0*p1;s0 mod p2;ds1.0+ds1.1")
    other = chain_of(
        r"13*4=52;52 mod 33=19;1+9=10;\boxed{10}", problem="digits(13*4 mod 33)", answer="10", parts=(52, 19)
    )
    assert other.digest == found.digest != chain("14*3=42;42-23=19;1+9=10").digest


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{10}", "10"),  # no step
        ("1+9=10", "10"),  # the parts are not there, and 1, 9 have no source
        ("14*3=42;1+9=10", "10"),  # a part is left out
        ("14*3=42;42 mod 23=18;1+8=9", "9"),  # a wrong step
        ("14*3=42;42 mod 23=19;1+9=11", "11"),
        ("14*3=42;42 mod 23=19", "10"),  # the last step does not give the answer
        ("14*3=42;42 mod 23=19;1+9=10", "9"),  # it gives another
        ("14*3=42;42 mod 23=19;1+9=10", None),
        ("14*3=42;42 mod 23=19;8+2=10", "10"),  # 8 has no source
        ("42 mod 23=19;14*3=42;1+9=10", "10"),  # 42 before it was found
        ("14*3=42;42 mod 23=19;4+6=10", "10"),  # digits of nothing
    ],
)
def test_what_is_no_valid_chain(text: str, answer: str | None) -> None:
    assert not chain(text, answer).valid


def test_a_part_that_is_computed_and_not_used_does_not_count() -> None:
    # 42 and 19 are both found; the answer comes from elsewhere
    assert not chain("14*3=42;42 mod 23=19;3+7=10", problem="digits(14*3 mod 23) 7").valid
    assert chain("14*3=42;42 mod 23=19;3+7=10;1+9=10", problem="digits(14*3 mod 23) 7").valid


def test_another_way_through_the_same_parts_is_valid() -> None:
    found = chain("14*3=42;42-23=19;1+9=10")
    assert found == Chain(True, "p0*p1;s0-p2;ds1.0+ds1.1")


def test_digits_are_sourced_only_where_they_spell_a_known_number_in_order() -> None:
    spelt = ("digits(861*2)", "9", (1722,))  # 1+7+2+2 = 12, so not 9: the answer below is 12
    problem, _, parts = spelt
    for text in ("861*2=1722;1+7=8;8+2=10;10+2=12", "861*2=1722;1+7+2+2=12"):
        assert chain_of(text, problem=problem, answer="12", parts=parts).valid, text
    for text in ("861*2=1722;7+1=8;8+2=10;10+2=12", "861*2=1722;1+7=8;8+4=12", "861*2=1722;1+7=8;6+6=12"):
        assert not chain_of(text, problem=problem, answer="12", parts=parts).valid, text


def test_a_divisor_proves_itself_and_any_other_unknown_number_does_not() -> None:
    ask = {"problem": "divisors of gcd(45,75)", "answer": "4", "parts": (15,)}
    steps = "75 mod 45=30;45 mod 30=15;gcd(30,15)=15;15/3=5;1+1=2;5/5=1;1+1=2;2*2=4"
    found = chain_of(steps, **ask)
    assert found.valid and ";s2/f;=1+=1;s3/s3;" in found.template
    assert not chain_of(steps.replace("15/3=5", "15-10=5;5+5=10"), problem=ask["problem"], answer="9").valid
    assert not chain_of("75 mod 45=30;45 mod 30=15;15*3=45;45/11=4", **ask).valid


@pytest.mark.parametrize(
    "family", [n for n, kind in FAMILIES.items() if kind.topic in ("composites", "depth")]
)
def test_generated_solutions_are_valid_chains_in_both_styles_and_lose_it_by_any_cut(family: str) -> None:
    for level in FAMILIES[family].levels:
        for seed in range(4):
            x = generate(family, level, seed)
            for statement in (x.text, x.terse):
                ask = {"problem": statement, "answer": str(x.answer), "parts": x.parts}
                assert chain_of(";".join(x.steps), **ask).valid, x
                if x.parts:
                    made = next(i for i, s in enumerate(x.steps) if s.endswith(f"={x.parts[-1]}"))
                    if sum(s.endswith(f"={x.parts[-1]}") for s in x.steps) == 1:
                        rest = ";".join(x.steps[:made] + x.steps[made + 1 :])
                        assert not chain_of(rest, **ask).valid, x


def test_commas_between_arguments_are_no_thousands() -> None:
    (step,) = check_steps("gcd(540,270)=270", problem="gcd(540,270)").steps
    assert step.ok and step.operands_known and step.value == 270
    (step,) = check_steps("gcd(540,270)=27", problem="gcd(540,270)").steps
    assert not step.ok
    (step,) = check_steps("270/2=135", problem="gcd(810 mod 540,270)").steps
    assert step.operands_known
    # elsewhere they are
    (step,) = check_steps("1,234+1=1,235", problem="1,234 apples").steps
    assert step.ok and step.operands_known
    (step,) = check_steps("gcd(1,540, 270)=10").steps  # blanks tell the arguments apart
    assert step.ok
