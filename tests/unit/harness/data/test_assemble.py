"""From a config to problems: files, filters, mixtures, doses and reports; bad input named in one line."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.data.documents import data_config, problems_to_evaluate
from harness.data.families.instance import generate
from harness.data.load import check_data, corpus, data_fingerprint, data_report, left_out, load_split
from harness.identity import base_identity
from harness.launch.compose import Composer
from harness.launch.run import main
from harness.schema.data_config import DataConfig
from harness.schema.presets import PRESETS, preset, with_components
from harness.schema.run_config import ConfigError, validate
from harness.types import Problem

needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
SETTINGS: dict[str, Any] = {"template": "question", "answer_rules": ["boxed"], "answer_range": None}


def config(**fields: Any) -> DataConfig:
    data = {"name": fields.get("dataset", "d"), **SETTINGS, **fields}
    return DataConfig.model_validate(with_components(data))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """40 training problems of two subjects and levels, one of them twice, and ten to test on."""
    rows = [
        {
            "id": f"t{i}",
            "problem": f"Add {i} and {i}",
            "answer": 2 * i,
            "subject": "ab"[i % 2],
            "level": 1 + i % 3,
        }
        | {"split": "train"}
        for i in range(40)
    ]
    rows.append({**rows[0], "id": "again"})
    rows += [
        {"id": f"e{i}", "problem": f"Double {i}", "answer": 2 * i, "level": 1, "subject": "a"}
        for i in range(10)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def mine(path: Path, **fields: Any) -> DataConfig:
    return config(dataset="jsonl", path=str(path), **fields)


def test_filters_copies_and_number_are_applied_and_reported(path: Path) -> None:
    data = mine(path, subjects=["a"], levels=[1], deduplicate=True, num_train=5)
    train = load_split(data, "train")
    # even i with i % 3 == 0: 0, 6, ..., 36 are seven, and problem 0 is there twice
    assert [p.id for p in train] == ["t0", "t6", "t12", "t18", "t24"]
    report = data_report(data)["train"]
    assert report["num_filtered"] == 41 - 8 and report["duplicates"] == [("t0", "again")]
    assert (report["num_problems"], report["num_distinct"]) == (5, 5)
    assert len(load_split(data, "test")) == 10
    assert left_out(data) == ["data=jsonl: left out of training: 1 copies; named in data.json"]


def test_a_files_own_twins_are_those_of_the_training_problems_taken(path: Path) -> None:
    twins = [
        {"id": f"p{i}", "problem": f"Add {i} and 9", "answer": i + 9, "pair_id": f"t{i}"} for i in range(6)
    ]
    twins += [{"id": "alone", "problem": "Add 1 and 1", "answer": 2, "level": 1, "subject": "a"}]
    twins += [{"id": "other", "problem": "Add 1 and 2", "answer": 3, "level": 2, "subject": "a"}]
    lines = [path.read_text(), *(json.dumps({**twin, "split": "perturbed"}) for twin in twins)]
    path.write_text("\n".join(lines))
    found = load_split(mine(path), "perturbed")
    assert [p.id for p in found] == [twin["id"] for twin in twins]
    assert [p.pair_id for p in found] == [*(f"t{i}" for i in range(6)), None, None]
    # Training takes t0, t6, ... alone; twins need no level of their own, and have their originals' fate.
    data = mine(path, subjects=["a"], levels=[1], num_train=5)
    assert [p.id for p in load_split(data, "perturbed")] == ["p0", "alone"]
    assert [p.id for p in load_split(mine(path, num_train=3), "perturbed")] == ["p0", "p1", "p2"]
    assert data_report(data)["perturbed"]["num_problems"] == 2
    assert [p.id for p in problems_to_evaluate(data, "perturbed", 1)] == ["p0"]


def test_a_bad_twin_is_named_before_anything_starts(path: Path) -> None:
    path.write_text(path.read_text() + '\n{"problem": "a", "split": "perturbed"}')
    with pytest.raises(ConfigError, match="line 52: no answer"):
        check_data(mine(path))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["data.families=[arith]"], "data.families='arith': unknown; did you mean arithmetic?"),
        (["data.families=[arithmetic]"], "data.levels=[]: give a list"),
        (["data.families=[arithmetic]", "data.levels=[1]"], None),
    ],
)
def test_what_a_base_is_pretrained_on_is_checked_beforehand(
    given: list[str], text: str | None, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mode in ("--plan", "--config"):
        given_all = ["data=jsonl", f"data.path={path}", f"output_dir={tmp_path}", *given]
        assert main([*given_all, mode]) == (0 if text is None else 2)
        assert text is None or text in capsys.readouterr().err


def test_the_seed_orders_before_the_number_cuts(path: Path) -> None:
    chosen = [
        [p.id for p in load_split(mine(path, order="seeded", data_seed=seed, num_train=n), "train")]
        for seed, n in ((0, 10), (0, 20), (1, 10))
    ]
    assert chosen[1][:10] == chosen[0] != chosen[2] and chosen[0] != [f"t{i}" for i in range(10)]
    test = [[p.id for p in load_split(mine(path, order="seeded", num_test=3), "test")]]
    assert test == [["e0", "e1", "e2"]]  # what is evaluated stays in the file's order


def test_bad_rows_stop_or_are_left_out_counted_and_named(path: Path) -> None:
    path.write_text(
        path.read_text() + '\n{"problem": "a", "split": "train"}\nnot json\n{"answer": 1, "split": "train"}'
    )
    with pytest.raises(ValueError, match=r"line 52: no answer.*line 53: not JSON.*line 54: no text"):
        load_split(mine(path), "train")
    data = mine(path, bad_rows="leave_out")
    assert len(load_split(data, "train")) == 41
    report = data_report(data)["train"]
    assert report["num_bad_rows"] == 3 and "line 52: no answer" in report["bad_rows"][0]
    assert left_out(data)[0].startswith("data=jsonl: left out of training: 3 bad rows (the first: data.path=")


def test_too_few_generated_problems_name_the_setting_that_asked() -> None:
    data = {"dataset": "aime_gen", "families": ["rectangle"], "levels": [1], "style": "terse"}
    for split, setting in (("train", "num_train"), ("test", "num_test"), ("perturbed", "num_train")):
        with pytest.raises(ValueError, match=rf"^data\.{setting}=999: .*; lower {setting} or name more"):
            load_split(config(**data, num_train=999, num_test=999), split)


def test_fewer_distinct_problems_make_the_same_number(path: Path) -> None:
    few, one_family = mine(path, num_train=24, num_distinct=6), mine(path, num_train=20, num_families=1)
    train = load_split(few, "train")
    assert len(train) == 24 and len({p.text for p in train}) == 6 and len({p.id for p in train}) == 24
    report = data_report(few)["train"]
    assert (report["num_problems"], report["num_distinct"]) == (24, 6)
    assert len({p.topic for p in load_split(one_family, "train")}) == 1
    assert {p.id for p in load_split(mine(path, num_train=24, order="seeded"), "train")} >= {
        p.id.split("/copy")[0]
        for p in load_split(mine(path, num_train=24, num_distinct=6, order="seeded"), "train")
    }


def test_fewer_generated_families_keep_the_number_and_the_corpus() -> None:
    whole = Composer().config(["data.num_train=60"])
    few = Composer().config(["data.num_train=60", "data.num_families=2"])
    train = load_split(few.data, "train")
    assert len(train) == 60 and len({p.id.split("-")[1] for p in train}) == 2
    assert len(load_split(few.data, "test")) == len(load_split(whole.data, "test")) == 120
    assert load_split(few.data, "test") == load_split(whole.data, "test")
    docs = [list(corpus(c, num_documents=20, seed=0)) for c in (whole, few)]
    assert docs[0] == docs[1]


def test_heldout_families_may_be_pretrained_on_and_are_never_trained() -> None:
    known, unseen = (
        Composer().config(["data=aime_gen_wide", f"data.pretrain_heldout={on}"]) for on in ("true", "false")
    )
    heldout = known.data.heldout_families
    # 960 documents over 24 families: 40 of each expected, and of the four held-out ones 160 (sd 11.5).
    texts = {f: _opening(f) for f in heldout}
    found = {
        name: sum(text.startswith(tuple(texts.values())) for text, _ in corpus(c, num_documents=960, seed=0))
        for name, c in (("known", known), ("unseen", unseen))
    }
    assert 110 < found["known"] < 210 and found["unseen"] == 0
    assert base_identity(known) != base_identity(unseen) and data_fingerprint(known.data)["pretrain_heldout"]
    trained = {_family(p) for p in load_split(known.data, "train")}
    assert trained == set(known.data.families) and not trained & set(heldout)
    assert {_family(p) for p in load_split(known.data, "heldout")} == set(heldout)
    # The corpus of a preset without held-out families in it is what it was.
    mini = Composer().config([])
    assert base_identity(mini)["corpus"]["families"] == mini.data.families


def _family(problem: Problem) -> str:
    return problem.id.split("-")[1]


def _opening(family: str) -> str:
    """Words before the first number of a family's terse statements at level 1."""
    return re.split(r"\d", generate(family, 1, 0).terse)[0]


def test_problems_by_order_are_balanced_and_fewer_are_part_of_more() -> None:
    data = Composer().config(["data=aime_gen_wide"]).data
    drawn = {}
    for number in (10, 20, 60):
        fewer = data.model_copy(update={"num_distinct": number, "distinct_by": "order"})
        train = load_split(fewer, "train")
        assert len(train) == 400
        drawn[number] = {p.text for p in train}
        families = Counter(_family(p) for p in train[:number])
        assert len(drawn[number]) == number and set(families.values()) == {max(1, number // 20)}
        twins = problems_to_evaluate(fewer, "perturbed", 48)
        assert {p.pair_id for p in twins} == {p.id for p in train[: min(number, 48)]}
    assert drawn[10] < drawn[20] < drawn[60]
    other = data.model_copy(update={"num_distinct": 10, "distinct_by": "order", "data_seed": 1})
    assert {p.text for p in load_split(other, "train")} != drawn[10]


def test_a_mixture_shares_out_by_weight_and_leaves_out_copies_between_its_parts(path: Path) -> None:
    other = path.with_name("other.jsonl")
    other.write_text(path.read_text().replace('"id": "', '"id": "o'))
    parts = {
        "first": {**mine(path).model_dump(), "weight": 0.75},
        "second": {**mine(other).model_dump(), "weight": 0.25},
    }
    data = config(dataset="mixture", num_train=20, components=parts)
    report = data_report(data)["train"]
    sizes = {name: part["num_problems"] for name, part in report["components"].items()}
    assert sizes == {"first": 15, "second": 5}
    assert len(load_split(data, "test")) == 20  # each component's own
    apart = data.model_copy(update={"deduplicate": True})
    with pytest.raises(ValueError, match=r"second\.num_train=5: 0 training problems are left"):
        load_split(apart, "train")
    same = config(
        dataset="mixture", num_train=20, components={**parts, "second": {**parts["first"], "weight": 0.25}}
    )
    with pytest.raises(ValueError, match="two of them have a problem t0"):
        load_split(same, "train")


def test_a_component_takes_its_preset_and_the_mixtures_grader() -> None:
    data = config(
        dataset="mixture", num_train=4, components={"easy": {"preset": "math", "weight": 1, "levels": [1]}}
    )
    easy = data.components["easy"]
    assert (easy.dataset, easy.levels, easy.answer_rules) == ("math", [1], ["boxed"])


def test_components_given_together_can_be_changed_one_by_one() -> None:
    lines = ["data=mixture", "data.components={gsm8k: 0.3, math: 0.7}", "data.components.math.levels=[5]"]
    data = Composer().config(lines).data
    math = data.components["math"]
    assert (math.weight, math.levels, math.dataset) == (0.7, [5], "math") and set(data.components) == {
        "gsm8k",
        "math",
    }


def test_a_mixture_of_generated_sets_is_read_again_as_it_was_dumped() -> None:
    """An evaluation's task gets the config in full; its parts' own num_train say nothing beside weights."""
    for name in ("reasoning_general_mini", "aime_gen_mini"):
        config = data_config(name)
        assert data_config(config.model_dump(mode="json")) == config


def test_weights_do_not_change_the_base_or_what_is_evaluated() -> None:
    arms = []
    for weight in (1, 0):
        names = ("aime_gen_mini", "general_mini")
        sizes = [f"data.components.{n}.weight={w}" for n, w in zip(names, (weight, 1 - weight), strict=True)]
        arms.append(Composer().config(["data=reasoning_general_mini", "data.num_train=24", *sizes]))
    reasoning, general = (load_split(c.data, "train") for c in arms)
    assert {p.dataset for p in reasoning} == {"aime_gen"} and {p.dataset for p in general} == {"general"}
    assert load_split(arms[0].data, "test") == load_split(arms[1].data, "test")
    docs = [list(corpus(c, num_documents=40, seed=0)) for c in arms]
    assert docs[0] == docs[1] and len({bool(";" in done) for _, done in docs[0]}) == 2


def test_every_preset_validates_and_what_is_in_it_is_known() -> None:
    for file in PRESETS.glob("*.yaml"):
        given = with_components(preset(file.stem))
        if file.stem == "jsonl":
            given["path"] = "x.jsonl"
        assert DataConfig.model_validate(given).name == file.stem


@needs_data
def test_contaminated_problems_are_dropped_and_named() -> None:
    whole = config(dataset="math")
    clean = config(dataset="math", drop_contaminated=["math500"])
    dropped = {p.id for s in ("train", "validation") for p in load_split(whole, s)} - {
        p.id for s in ("train", "validation") for p in load_split(clean, s)
    }
    reports = data_report(clean)
    named = {hit["train_id"] for s in ("train", "validation") for hit in reports[s]["contaminated"]}
    known = json.loads((Path(os.environ["MATH_DATA_DIR"]) / "overlap.json").read_text(encoding="utf-8"))
    pairs = [p for p in known["pairs"] if (p["train_set"], p["eval_set"]) == ("math_train", "math500")]
    assert dropped == named == {p["train_id"] for p in pairs if (p["share"] or 0) >= 0.5}
    assert data_fingerprint(clean) != data_fingerprint(whole)


@needs_data
def test_a_dose_of_an_evaluation_set_is_in_training_and_named() -> None:
    plain = config(dataset="gsm8k", num_train=100, order="seeded")
    dosed = config(dataset="gsm8k", num_train=100, order="seeded", dose={"dataset": "aime24", "percent": 10})
    ids = [{p.id for p in load_split(d, "train")} for d in (plain, dosed)]
    assert len(ids[1]) == 100 and ids[1] - ids[0] == set(data_report(dosed)["train"]["dose"])
    assert len(ids[1] - ids[0]) == 3 and all(i.startswith("aime24") for i in ids[1] - ids[0])
    assert set(data_fingerprint(dosed)["content"]) == {
        "gsm8k_train.jsonl",
        "gsm8k_test.jsonl",
        "aime24.jsonl",
    }


def test_a_dose_may_be_of_the_own_test_split(path: Path) -> None:
    data = mine(path, dose={"dataset": "own_test", "percent": 100})
    train, test = ({p.text for p in load_split(data, s)} for s in ("train", "test"))
    assert test < train and data_report(data)["train"]["num_dose"] == 10


@needs_data
def test_perturbed_problems_are_of_the_training_problems() -> None:
    data = config(dataset="gsm8k", num_train=30, order="seeded")
    train, twins = ({p.id: p for p in load_split(data, s)} for s in ("train", "perturbed"))
    assert 5 <= len(twins) < 30 and all(t.pair_id in train for t in twins.values())


@needs_data
def test_a_mixture_of_published_sets() -> None:
    components = "data.components={aime_gen_mini: 0.25, gsm8k: 0.75}"
    data = Composer().config(["data=reasoning_general_mini", "data.num_train=40", components]).data
    assert sorted(data.components) == ["aime_gen_mini", "gsm8k"]
    train = load_split(data, "train")
    assert sum(p.dataset == "gsm8k" for p in train) == 30 and len(train) == 40


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["data=mixture", "data.components.math.weight=0.7"], ["gsm8k 0.5, math 0.7", "to 1.2; divide"]),
        (["data=mixture", "data.components={gsm8k: 1.5, math: -0.5}"], ["math.weight=-0.5", "than or equal"]),
        (["data=mixture", "data.components={gsm8k: 0.5, maths: 0.5}"], ["maths.preset=maths", "math"]),
        (["data=mixture", "data.components.math.lvels=[1]"], ["no setting", "data.components.math.levels"]),
        (["data=mixture", "data.components=3"], ["data.components=3", "give names and weights"]),
        (["data=mixture", "data.levels=[3]"], ["belong to its components"]),
        (["data.num_train=0"], ["data.num_train=0 with dataset=aime_gen", "at least 1"]),
        (["data.levels=[]"], ["data.levels=[] with dataset=aime_gen", "name some"]),
        (["data.num_distinct=400"], ["num_distinct=400 exceeds num_train=384"]),
        (["data.distinct_by=order"], ["data.distinct_by=order", "num_distinct is not given"]),
        (["data.pretrain_heldout=true", "data.heldout_families=[]"], ["data.pretrain_heldout=true", "name"]),
        (["data.num_families=7"], ["data.num_families=7: there are 6"]),
        (["data.perturb_draws=2"], ["perturb_draws=2 with dataset=aime_gen", "use data=gsm8k"]),
        (
            ["data=gsm8k", "data.perturb_draws=2", "data.num_train=9", "data.num_distinct=3"],
            ["perturb_draws=2 with num_distinct", "drop one"],
        ),
        (
            ["data=gsm8k", "data.perturb_draws=2", "data.dose={dataset: aime24, percent: 10}"],
            ["perturb_draws=2 with num_distinct, num_families or dose"],
        ),
        (["data=mixture", "data.components.gsm8k.perturb_draws=2"], ["would change their weights"]),
        (["data.weight=1"], ["data.weight=1", "leave it out"]),
        (["data.subjects=[Algebra]"], ["name families instead"]),
    ],
)
def test_bad_input_is_one_line_before_anything_is_loaded(
    overrides: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*overrides, "--config"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and said.startswith("error: ")
    assert all(part in said for part in parts), said


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_the_file_is_named(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("MATH_DATA_DIR", str(tmp_path / folder))
    with pytest.raises(
        ConfigError, match=rf"MATH_DATA_DIR=.*{folder}: no gsm8k_train\.jsonl there; unset it"
    ):
        check_data(config(dataset="gsm8k"))


@needs_data
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"dataset": "math", "subjects": ["Algbra"]},
            r"data\.subjects=Algbra: math has no such subject; did you",
        ),
        (
            {"dataset": "aime_1983_2023", "levels": [3]},
            r"data\.levels=\[3\]: the problems of aime_1983_2023 have none",
        ),
        ({"dataset": "gsm8k", "num_train": 9000}, r"data\.num_train=9000: 6726 training problems are left"),
        (
            {"dataset": "gsm8k", "dose": {"dataset": "aime24", "percent": 1}},
            r"data\.dose\.percent=1: less than one",
        ),
        ({"dataset": "aime24"}, r"data=aime24: has no training problems; choose another"),
    ],
)
def test_what_a_set_does_not_have_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_data(config(**fields))


def test_a_base_of_generated_problems_needs_some(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data=jsonl", f"data.path={path}", "--config"]) == 2
    assert "that model is pretrained on generated problems, and these are not" in capsys.readouterr().err


def test_the_content_of_files_is_in_the_fingerprint(path: Path) -> None:
    before = data_fingerprint(mine(path)), load_split(mine(path), "test")
    path.write_text(path.read_text().replace("Double 3", "Double 30"))
    assert data_fingerprint(mine(path)) != before[0] and load_split(mine(path), "test") != before[1]


def test_validation_messages_come_from_one_place() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw = Composer().config([]).model_dump()
    raw["data"]["dose"] = {"dataset": "aime42", "percent": 5}
    with pytest.raises(
        ConfigError, match=r"data\.dose\.dataset=aime42: not one of .*did you mean aime26 or aime25 or aime24"
    ):
        validate(raw)
