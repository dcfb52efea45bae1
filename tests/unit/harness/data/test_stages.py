"""Filters, copies, order, diversity and dose on problems small enough to count by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.data import stages
from harness.data.normalise import exact_key, words
from harness.types import Problem


def problem(
    i: int, text: str | None = None, *, topic: str | None = "Algebra", level: int | None = 1
) -> Problem:
    return Problem(f"p{i}", "d", "train", text or f"What is {i} + {i}?", str(2 * i), topic=topic, level=level)


def ids(problems: list[Problem]) -> list[str]:
    return [p.id for p in problems]


def test_filters_keep_what_has_both() -> None:
    given = [
        problem(0),
        problem(1, level=2),
        problem(2, topic="Geometry"),
        problem(3, topic="Geometry", level=2),
    ]
    assert ids(stages.filtered(given, levels=[2], subjects=["Geometry"], name="d")) == ["p3"]
    assert ids(stages.filtered(given, levels=[], subjects=[], name="d")) == ids(given)


@pytest.mark.parametrize(
    ("levels", "subjects", "parts"),
    [
        ([], ["Algbra"], ["subjects=Algbra", "did you mean Algebra?"]),
        ([5], [], ["levels=5", "there are 1, 2"]),
        ([2], ["Geometry"], ["no problem of d has both", "widen"]),
    ],
)
def test_a_filter_that_leaves_nothing_is_named(levels: list, subjects: list, parts: list) -> None:
    given = [problem(0), problem(1, level=2), problem(2, topic="Geometry")]
    with pytest.raises(ValueError) as caught:
        stages.filtered(given, levels=levels, subjects=subjects, name="d")
    assert all(part in str(caught.value) for part in parts)


def test_a_set_without_levels_cannot_be_filtered_by_them() -> None:
    with pytest.raises(ValueError, match=r"levels=\[3\]: the problems of d have none"):
        stages.filtered([problem(0, level=None)], levels=[3], subjects=[], name="d")


def test_copies_differ_in_layout_alone_and_the_first_stays() -> None:
    given = [
        problem(0, r"Find $x$ if $x+1 = \frac{1}{2}$."),
        problem(1, r"find  x  if \(x + 1=\dfrac{1}{2}\)"),
        problem(2, r"Find $x$ if $x-1 = \frac{1}{2}$."),  # another sign is another problem
    ]
    left, pairs = stages.without_duplicates(given)
    assert ids(left) == ["p0", "p2"] and pairs == [("p0", "p1")]
    assert words(given[0].text) == words(given[2].text) and exact_key(given[0].text) != exact_key(
        given[2].text
    )


def test_the_order_depends_on_seed_and_ids_alone() -> None:
    given = [problem(i) for i in range(20)]
    order = ids(stages.seeded(given, 0))
    assert (
        sorted(order) == sorted(ids(given)) and order != ids(given) and order != ids(stages.seeded(given, 1))
    )
    assert ids(stages.seeded(given[::2][::-1], 0)) == [i for i in order if i in ids(given[::2])]


def test_fewer_families_nest() -> None:
    names = [f"f{i}" for i in range(8)]
    chosen = [set(stages.fewer_families(names, n, seed=3)) for n in range(1, 9)]
    assert [len(c) for c in chosen] == list(range(1, 9))
    assert all(a < b for a, b in pairwise(chosen))
    with pytest.raises(ValueError, match="num_families=9: there are 8"):
        stages.fewer_families(names, 9, seed=3)


@pytest.mark.parametrize("num_distinct", [1, 7, 20, 100, 200])
def test_diversity_keeps_the_number_of_problems_and_about_their_length(num_distinct: int) -> None:
    given = [problem(i, "word " * (10 + i % 90)) for i in range(200)]
    made = stages.repeated(given, num_distinct, 200, seed=1)
    assert len(made) == 200 == len(set(ids(made)))  # a copy has an id of its own
    counts: dict[str, int] = {}
    for p in made:
        counts[p.text + p.answer] = counts.get(p.text + p.answer, 0) + 1
    assert len(counts) == num_distinct and max(counts.values()) - min(counts.values()) <= 1
    assert len(stages.without_copies(made)) == num_distinct
    length = sum(len(p.text) for p in made) / sum(len(p.text) for p in given)
    assert abs(length - 1) < (0.02 if num_distinct >= 7 else 0.5), length


def test_all_distinct_is_the_set_itself() -> None:
    given = [problem(i) for i in range(10)]
    assert stages.repeated(given, 10, 10, seed=0) == given
    assert len(stages.repeated(given, 10, 25, seed=0)) == 25
    with pytest.raises(ValueError, match="num_distinct=11: there are 10 problems"):
        stages.repeated(given, 11, 25, seed=0)


def test_the_first_problems_are_taken_by_order() -> None:
    given = [problem(i, "word " * (1 + i)) for i in range(6)]
    assert ids(stages.repeated(given, 2, 5, seed=0, by="order")) == [
        *("p0", "p1", "p0/copy2", "p1/copy2", "p0/copy3")
    ]


def test_a_dose_replaces_as_many_problems_and_a_larger_one_holds_the_smaller() -> None:
    given, evaluation = [problem(i) for i in range(50)], [problem(100 + i) for i in range(30)]
    small, few = stages.dosed(given, evaluation, percent=10, seed=0)
    large, many = stages.dosed(given, evaluation, percent=50, seed=0)
    assert len(small) == len(large) == 50 and (len(few), len(many)) == (3, 15)  # 10 % and 50 % of 30
    assert set(few) < set(many) and set(ids(small)) - set(ids(given)) == set(few)
    assert all(small[i] == given[i] or small[i].id in few for i in range(50))
    with pytest.raises(ValueError, match=r"percent=1: less than one problem; give 3\.33"):
        stages.dosed(given, evaluation, percent=1, seed=0)
    with pytest.raises(ValueError, match="30 problems, and 20 to train on"):
        stages.dosed(given[:20], evaluation, percent=100, seed=0)


def test_shares_sum_to_the_total() -> None:
    assert stages.shares(10, {"a": 0.5, "b": 0.3, "c": 0.2}) == {"a": 5, "b": 3, "c": 2}
    assert stages.shares(10, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}) == {"a": 4, "b": 3, "c": 3}
    assert stages.shares(7, {"a": 1.0, "b": 0.0}) == {"a": 7, "b": 0}


def test_every_prefix_of_a_mixture_holds_the_weights() -> None:
    parts = {"a": [problem(i) for i in range(30)], "b": [problem(100 + i) for i in range(10)]}
    mixed = stages.interleaved(parts)
    assert sorted(ids(mixed)) == sorted(ids(parts["a"]) + ids(parts["b"]))
    for n in range(1, 41):
        from_b = sum(int(p.id[1:]) >= 100 for p in mixed[:n])
        assert abs(from_b - n / 4) <= 1, n
