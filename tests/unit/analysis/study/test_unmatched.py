"""What another engine does otherwise is said under the tables of the arms that it trained."""

from __future__ import annotations

import shutil

from tests.unit.analysis.test_bad_input import change, notes


def test_what_another_engine_does_otherwise_is_said_of_the_arms_that_it_trained(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "another engine" not in notes(folder)
    for seed in range(3):
        change(folder / f"grpo-xs-s{seed}-abcd" / "run.json", unmatched=["seeds: intervals are wider"])
    shutil.rmtree(folder / "grpo-xs-s2-abcd")  # one that was never started has no such list
    text = notes(folder)
    assert text.count("seeds: intervals are wider") == 1
    assert "objective=grpo model=xs: seeds: intervals are wider" in text
    others = "objective=sft_rejection model=xs"
    assert f"objective=grpo model=xs trained on another engine than {others}: a difference" in text
