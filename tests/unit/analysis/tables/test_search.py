"""Searches at equal tokens on records written by hand: table, sentence, curves and tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.figures.search import search_curves, search_tree, tree_rows
from analysis.study.contrasts import primary_of
from analysis.study.load import Study, load_study
from analysis.study.search import SearchPoint, search_points
from analysis.tables.search import rl_text, search_table, search_text, vote_after
from harness.records.lines import write_samples
from harness.records.records import read_eval, read_run, write_record
from harness.records.search import SearchRecord, search_path, trees_of

NODES = [
    {"parent": None, "text": "", "visits": 3, "value": 0.5, "complete": False},
    {"parent": 0, "text": "1+1=2", "visits": 2, "value": 0.25, "complete": False},
    {"parent": 1, "text": "so\n<b>2</b>", "visits": 1, "value": 0.5, "complete": True},
    {"parent": 1, "text": "3", "visits": 1, "value": 0.0, "complete": True},
    {"parent": 0, "text": "x" * 99, "visits": 1, "value": 1.0, "complete": True},
]


def write(
    folder: Path, step: int, seed: int, fn: str, value: str, right: tuple[int, int], tokens: int
) -> None:
    """One search of ten problems at budgets 10 and 40: `right` of them, at `tokens` and four times that."""
    at = f"step_{step:06d}" if step else "base"
    key = f"{fn[:2]}{value[:4]}{seed}"
    record = SearchRecord(
        key=key,
        task="aime_gen_test",
        split="test",
        label=f"{fn}, {value}",
        fn=fn,
        value=value,
        search={"trees": 1},
        uses_reference=value == "oracle",
        checkpoint=at,
        step=step,
        run_id=None,
        base_id=None,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=80,
        eval_sampling_seed=seed,
        n_problems=10,
        problem_ids=[f"test-{i}" for i in range(10)],
        budgets=[10, 40],
        correct=[[1] * n + [0] * (10 - n) for n in right],
        any_right=[[1] * 9 + [0]] * 2,
        tokens=[[tokens] * 10, [4 * tokens] * 10],
        outputs=[[1] * 10, [4] * 10],
        num_nodes=[5] * 10,
        depth=[2] * 10,
        sampled_tokens=40 * tokens,
        seconds=1.0,
    )
    path = search_path(folder, at, key, "aime_gen_test")
    write_record(path, record)
    write_samples(trees_of(path), [{"problem_id": "test-0", "problem": "1+1", "nodes": NODES}])


@pytest.fixture
def study(make_study) -> Study:
    """Votes are right on 4, 5, 6 problems of ten at 10 tokens and on 5, 6, 7 at 40; MCTS on others."""
    folder: Path = make_study(seeds=3, models=("xs",))
    for seed in range(3):
        for arm, more in (("sft_rejection", 0), ("grpo", 1)):
            run = folder / f"{arm}-xs-s{seed}-abcd"
            record = read_run(run)
            base = folder.parent / "bases" / str(record.base_id)
            for place, step in ((run, record.steps_done), (base, 0)):
                extra = more if step else 0
                write(place, step, seed, "best_of_n", "rollout", (4 + seed, 5 + seed + extra), 12)
                write(place, step, seed, "mcts", "process", (3 + seed, 3 + (0, 1, 3)[seed] + extra), 11)
                write(place, step, seed, "mcts", "oracle", (9, 9), 11)
            for path in sorted(run.glob("eval/*/aime_gen_test.json")):
                greedy = read_eval(path)
                greedy.greedy_lengths = [8, 12] * 10
                write_record(path, greedy)
    return load_study(folder)


def test_each_search_is_paired_with_the_vote_by_seed(study: Study) -> None:
    """sft's MCTS has 3, 4, 6 of ten after 44 tokens; the vote 4, 5, 6 after 12 and 5, 6, 7 after 48.

    The vote after 44 is ln(44/12) / ln(48/12) = 0.93724 of the way: 4.93724, 5.93724, 6.93724 of ten. The
    differences -0.19372, -0.19372, -0.09372 have the mean -0.16039, their sd is 0.057735, se 0.033333,
    t(2) = 4.30265: half a width is 0.14342.
    """
    primary = primary_of(study)
    found = search_points(study, primary)
    table = search_table(study, primary, found)
    rows = {(r["of"].split()[0], r["search"], r["budget"]): r for r in table.raw.to_dict("records")}
    row = rows["objective=sft_rejection", "mcts, process", 40]
    assert row["accuracy"] == pytest.approx(13 / 30) and row["tokens"] == 44
    assert row["minus_vote"] == pytest.approx(-0.16039, abs=1e-5)
    assert row["minus_vote_low"] == pytest.approx(-0.16039 - 0.14342, abs=1e-4)
    # After 11 tokens, fewer than the vote's first point, it is -0.1 in each seed; the same at the base.
    assert rows["objective=sft_rejection", "mcts, process", 10]["minus_vote"] == pytest.approx(-0.1)
    assert rows["base", "mcts, process", 40]["accuracy"] == pytest.approx(13 / 30)
    assert rows["objective=grpo", "best_of_n, rollout", 40]["accuracy"] == pytest.approx(0.7)
    assert table.columns[2:] == ["10 tokens", "40 tokens", "spent", "outputs", "any right"]
    shown = {row[1]: row[2:] for row in table.cells if row[0].startswith("objective=sft")}
    assert list(shown) == ["greedy", "best_of_n, rollout", "mcts, process", "mcts, oracle"]
    assert shown["mcts, process"][1:] == ["43.3 (−16.0 [−30.4, −1.7])", "44", "4", "90.0"]
    assert shown["best_of_n, rollout"][1] == "60.0 [35.2, 84.8]"  # 0.5, 0.6, 0.7: 0.1 4.30265 / sqrt(3)
    assert shown["greedy"][1:3] == ["—", "10"]  # one output stands in the first column
    assert table.cells[0][0] == "base"  # bases first, once for all arms


def test_greedy_decoding_stands_beside_them(study: Study) -> None:
    found = search_points(study, primary_of(study))
    greedy = {point.who: point for point in found if point.label == "greedy"}
    assert set(greedy) == {
        "objective=sft_rejection model=xs",
        "objective=grpo model=xs",
    }  # no lengths of a base
    point = greedy["objective=grpo model=xs"]
    assert point.budget is None and point.mean_tokens == 10 and len(point.accuracy) == 3


def test_a_sentence_says_what_is_told_from_a_vote(study: Study) -> None:
    primary = primary_of(study)
    lines = search_text(study, primary, search_points(study, primary))
    assert len(lines) == 3
    sft = next(line for line in lines if line.startswith("objective=sft"))
    # The oracle: 0.9 less 0.59372.
    assert "40 tokens a problem, against a majority vote over as many: below: mcts, process −16.0" in sft
    assert sft.endswith("An oracle's choice is +30.6 points from it.")
    assert "mcts, oracle" not in sft


def test_what_the_vote_never_spent_is_not_compared(study: Study) -> None:
    """The vote spent 48 tokens at most: 50 is within 5 % of it, and read as 48; 51 is not."""
    found = search_points(study, primary_of(study))
    point = next(p for p in found if p.who.startswith("objective=sft") and p.budget == 40 and p.fn == "mcts")
    for tokens, expected in ((50, {"0": 0.5, "1": 0.6, "2": 0.7}), (51, {})):
        moved = replace(point, tokens=dict.fromkeys(point.tokens, tokens))
        assert vote_after(moved, found, who=point.who) == pytest.approx(expected)


def test_the_vote_of_a_trained_arm_is_compared_with_its_bases_best_search(study: Study) -> None:
    """After 44 tokens grpo's vote has 4, 5, 6 and 0.93724 of two more: 5.87448, 6.87448, 7.87448 of ten.

    The base's best search has 3, 4, 6: +0.28745, +0.28745, +0.18745, mean +0.25411 +- 0.14342. Training adds
    0.093724 to the base's vote in each seed; a quarter of it allows less than nothing here.
    """
    study.record.declared["margin"] = {"share": 0.25}
    primary = primary_of(study)
    lines = rl_text(study, primary, search_points(study, primary))
    grpo = next(line for line in lines if line.startswith("objective=grpo"))
    assert (
        "40 tokens a problem: its majority vote is +25.4 [+11.1, +39.8] points from the best search" in grpo
    )
    assert "(mcts, process, chosen on these problems); not below it by more than a quarter of" in grpo
    # sft's vote is the base's: 4.93724 of ten and so on, which is 0.16039 +- 0.14342 above its search.
    sft = next(line for line in lines if line.startswith("objective=sft"))
    assert "+16.0 [+1.7, +30.4]" in sft
    study.record.declared["margin"] = None
    assert all(line.endswith("on these problems).") for line in rl_text(study, primary, found_of(study)))


def found_of(study: Study) -> list[SearchPoint]:
    return search_points(study, primary_of(study))


def test_curves_are_drawn_against_tokens_spent(study: Study) -> None:
    figure = search_curves(study, primary_of(study))
    assert figure is not None
    rows = {(*r["panel"].replace(" model=xs", "").split(": "), r["series"], r["x"]): r for r in figure.rows}
    row = rows["objective=sft_rejection", "process model", "mcts", 44]
    assert row["value"] == pytest.approx(1300 / 30) and row["low"] < row["value"] < row["high"]
    names = ["base", "objective=sft_rejection", "objective=grpo"]
    assert list(dict.fromkeys((who, value) for who, value, *_ in rows)) == [
        (who, value) for who in names for value in ("process model", "oracle (ceiling)")
    ]
    # Plain sampling stands in every panel, the oracle in its own alone.
    assert (
        rows["base", "oracle (ceiling)", "majority vote", 48] and rows["base", "oracle (ceiling)", "mcts", 44]
    )
    assert rows["base", "process model", "majority vote", 48]["value"] == pytest.approx(60)
    assert rows["base", "process model", "mcts", 44]["value"] == pytest.approx(1300 / 30)
    assert "3 seeds" in figure.title and figure.svg.count("<svg") == 1


def test_a_tree_is_drawn_with_its_texts_escaped(study: Study) -> None:
    """Leaves at 0, 1, 2 from left to right; `1+1=2` above the middle of its two, the root above 0.5 and 2."""
    rows = tree_rows(NODES)
    assert [(row["x"], row["y"]) for row in rows] == [(1.25, 0), (0.5, 1), (0, 2), (1, 2), (2, 1)]
    assert [(row["x2"], row["y2"]) for row in rows] == [(1.25, 0), (1.25, 0), (0.5, 1), (0.5, 1), (1.25, 0)]
    assert [row["kind"] for row in rows] == ["step", "step", "output", "output", "output"]
    assert rows[2]["tip"] == "so <b>2</b>: 1 visits, value 0.50" and len(rows[4]["tip"]) < 99
    figure = search_tree(study)
    assert figure is not None and "<b>" not in figure.inline(720) and "so &lt;b&gt;2" in figure.inline(720)


def test_nothing_is_shown_where_nothing_was_searched_and_damage_is_named(make_study) -> None:
    folder: Path = make_study(seeds=2, models=("xs",))
    study = load_study(folder)
    primary = primary_of(study)
    assert search_points(study, primary) == [] and search_curves(study, primary) is None
    assert search_tree(study) is None and search_text(study, primary, []) == []
    assert not search_table(study, primary, []).cells
    run = folder / "grpo-xs-s0-abcd"
    write(run, read_run(run).steps_done, 0, "mcts", "oracle", (1, 2), 5)
    (path,) = run.glob("search/*/*.json")
    path.write_text(path.read_text()[:-40])
    study = load_study(folder)
    assert search_points(study, primary_of(study)) == []
    assert any(str(path) in line for line in study.damaged)
