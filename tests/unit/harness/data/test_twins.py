"""Twins of training problems: exact, different, never the evaluated one, never near a test problem."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from harness.data import gsm8k
from harness.data.assemble import assemble
from harness.data.documents import problems_to_evaluate
from harness.data.load import data_fingerprint
from harness.data.perturb import perturbed, training_twins
from harness.data.twins import add_twins
from harness.schema.data_config import DataConfig
from harness.schema.presets import preset
from harness.types import Problem
from tests.unit.harness.data.test_perturb import check, gsm

needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
WORDS = (
    "Ann the baker has {} pens and her brother Bob the tall carpenter has {} more pens than Ann. How many?"
)
PENS = gsm(WORDS.format(14, 8), "14+8", "14+22")


def data(**fields: object) -> DataConfig:
    return DataConfig.model_validate({**preset("gsm8k"), **fields})


def test_twins_differ_and_leave_out_the_one_that_is_evaluated() -> None:
    twins = training_twins(PENS, 5)
    assert [t.id for t in twins] == [f"p/twin{i}" for i in range(1, 6)]
    evaluated = perturbed(PENS)
    assert evaluated is not None
    texts = {t.text for t in twins} | {evaluated.text, PENS.text}
    assert len(texts) == 7
    for twin in twins:
        check(twin)
        assert (twin.split, twin.pair_id) == ("train", "p")
    assert training_twins(PENS, 3) == twins[:3]  # fewer draws are the first of more


def test_small_numbers_have_few_twins() -> None:
    """2 becomes 2 to 5 (2 * 16 // 10 + 2), 9 becomes 5 to 16, each changed and in their order."""
    small = gsm("Ann has 2 pens and Bob has 9. How many have they?", "2+9")
    twins = training_twins(small, 500)
    pairs = {tuple(int(n) for n in t.text.replace(".", "").split() if n.isdigit()) for t in twins}
    assert pairs <= {(a, b) for a in (3, 4, 5) for b in range(5, 17) if b != 9 and a < b and a + b != 11}
    assert 20 < len(pairs) == len(twins)
    assert training_twins(replace(PENS, text=PENS.text + " At least?"), 5) == []


def test_a_copy_of_a_problem_or_of_another_twin_is_left_out() -> None:
    twin = training_twins(PENS, 1)[0]
    other = replace(twin, id="q", pair_id=None)  # an original that happens to be p's first twin
    found, report = add_twins([PENS, other], 4, evaluation={}, share=0.5)
    assert found[:2] == [PENS, other]
    assert twin.text not in {p.text for p in found[2:]} and report["num_copies"] >= 1
    assert len({p.text for p in found}) == len(found) == 2 + report["num_twins"]


def test_a_twin_near_an_evaluation_problem_is_left_out_and_counted() -> None:
    first, *others = training_twins(PENS, 4)
    copy = Problem("test/0", "gsm8k", "test", others[0].text.upper(), others[0].answer)
    far = Problem("test/1", "gsm8k", "test", "How many legs have three spiders?", "24")
    # 10 of its 14 words after the first number, the last one another: a part of the 13-grams alone.
    part = Problem("test/2", "gsm8k", "test", " ".join(first.text.split()[:13]) + " apples not nuts", "1")
    found, report = add_twins([PENS], 4, evaluation={"test": [copy, far]}, share=0.9)
    assert others[0].id in report["left_out"]
    assert {p.id for p in found} == {"p", first.id, *(t.id for t in others)} - set(report["left_out"])
    counts = report["scanned"]["test"]
    assert (counts["num_eval"], counts["exact"]) == (2, 1) and counts["any_13gram"] == 1
    _, loose = add_twins([PENS], 4, evaluation={"test": [part]}, share=0.9)
    _, strict = add_twins([PENS], 4, evaluation={"test": [part]}, share=0.1)
    assert loose["left_out"] == [] and first.id in strict["left_out"]
    assert strict["scanned"]["test"]["any_13gram"] == 1 and strict["scanned"]["test"]["exact"] == 0


def test_no_draws_leave_a_configs_fingerprint_alone() -> None:
    plain = DataConfig.model_validate({**preset("jsonl"), "path": __file__})
    assert "perturb_draws" not in data_fingerprint(plain)


@needs_data
def test_they_are_added_to_training_alone_and_reported() -> None:
    plain, more = data(num_train=60), data(num_train=60, perturb_draws=3)
    originals, (train, report) = assemble(plain, "train")[0], assemble(more, "train")
    assert train[:60] == originals
    twins = train[60:]
    ids = {p.id for p in originals}
    assert twins and {t.pair_id for t in twins} <= ids and all(t.split == "train" for t in twins)
    held_out = {p.id for split in ("test", "validation") for p in gsm8k.load(split)}
    assert not {t.pair_id for t in twins} & held_out
    said = report.as_json()["twins"]
    assert said["num_twins"] == len(twins) and said["scanned"]["test"]["num_eval"] == 1319
    assert said["scanned"]["validation"]["num_eval"] == 747
    assert said["scanned"]["test"]["exact"] == said["scanned"]["validation"]["exact"] == 0
    for split in ("perturbed", "validation", "validation_perturbed", "test"):
        assert assemble(plain, split)[0] == assemble(more, split)[0]
    assert not {t.text for t in twins} & {p.text for p in assemble(more, "perturbed")[0]}
    # What is measured as `train` are the problems, not their twins.
    assert problems_to_evaluate(more, "train") == originals
    assert data_fingerprint(plain) != data_fingerprint(more)


@needs_data
def test_validation_problems_have_twins_of_their_own() -> None:
    few = data(num_validation=60)
    originals, twins = (assemble(few, s)[0] for s in ("validation", "validation_perturbed"))
    assert len(originals) == 60 and 15 <= len(twins) < 60
    assert {t.pair_id for t in twins} <= {p.id for p in originals}
    assert {t.split for t in twins} == {"validation_perturbed"}
    assert assemble(data(dataset="math", name="math"), "validation_perturbed")[0] == []
