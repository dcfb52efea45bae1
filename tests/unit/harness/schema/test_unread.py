"""A setting is read, refused or warned about: every one of the schema, in runs of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest

from harness import identity
from harness.launch.compose import Composer
from harness.launch.run import main
from harness.schema.run_config import ConfigError, RunConfig
from harness.schema.section import Section, sections_in
from harness.schema.settings import paths
from harness.schema.unread import unread

ROWS = [{"problem": f"{i}+{i}", "answer": 2 * i, "split": s} for i in range(4) for s in ("train", "test")]
COMPOSER = Composer()
LADDER: list[str] = []
SEARCH = "{fn: mcts, value: oracle, budget: 9}"
FOLDER = ["model=folder", "model.path=/a/model"]
HUB = ["model=hub", "model.hub_id=a/b"]
VERL = ["trainer.engine=verl", "dtype=bfloat16"]
MIXTURE = ["data=reasoning_general_mini"]
FILE = ["data=jsonl", "data.path=FILE"]
HUB_SET = ["data=hub", "data.hub_id=a/b"]
FUNCTION = f"{{path: '{Path(__file__)}:other'}}"
OWN_BASE = [*FILE, "data.families=[gcd]", "data.levels=[1]"]
# Path -> (value, a run that does not read it, a run that does).
CASES: dict[str, tuple[str, list[str], list[str]]] = {
    "model.hub_id": ("c/d", LADDER, HUB),
    "model.revision": ("main", FOLDER, HUB),
    "model.package": ("some-package", FOLDER, HUB),
    "model.path": ("/b", HUB, FOLDER),
    "model.trust_remote_code": ("true", LADDER, HUB),
    "data.path": ("x.jsonl", LADDER, FILE),
    "data.hub_id": ("c/d", LADDER, HUB_SET),
    "data.hub_config": ("main", FILE, HUB_SET),
    "data.hub_revision": ("main", FILE, HUB_SET),
    "data.hub_splits": ("{test: dev}", FILE, HUB_SET),
    "data.function": (FUNCTION, FILE, ["data=function", f"data.function={FUNCTION}"]),
    "data.distinct_by": ("order", LADDER, [*LADDER, "data.num_distinct=8"]),
    "data.pretrain_heldout": ("true", FOLDER, LADDER),
    "data.columns": ("{problem: question}", LADDER, FILE),
    "data.answer_pattern": ("x", LADDER, HUB_SET),
    "data.families": ("[gcd,divisors]", [*FILE, *HUB], OWN_BASE),
    "data.style": ("terse", FILE, OWN_BASE),
    "data.heldout_families": ("[gcd]", FILE, LADDER),
    "data.answer_range": ("[0,5]", LADDER, FILE),
    "data.bad_rows": ("leave_out", MIXTURE, FILE),
    "data.order": ("seeded", MIXTURE, LADDER),
    "data.data_seed": ("3", FILE, [*FILE, "data.order=seeded"]),
    "data.fresh": ("true", [*FILE, "data.num_train=9999"], [*LADDER, "data.num_train=9999"]),
    "data.drop_share": ("0.9", FILE, [*FILE, "data.drop_contaminated=[gsm8k]"]),
    "objective.kl.estimator": ("k1", ["objective.kl.coef=0"], ["objective.kl.placement=reward"]),
    "objective.kl.placement": ("reward", ["objective.kl.coef=0"], LADDER),
    "objective.kl.against": ("old", ["objective.kl.coef=0"], LADDER),
    "objective.kl.ratio_weighted": ("true", ["objective.kl.coef=0"], LADDER),
    "objective.kl.reference": ("teacher", [], ["objective=distill_on_policy", "objective.teacher.path=/t"]),
    "objective.fp32_head": ("true", LADDER, ["dtype=bfloat16"]),
    "objective.truncated": ("drop", ["objective=cold_start"], LADDER),
    "rollout.cache": ("paged", ["device=cpu"], LADDER),
    "rollout.lag": ("1", ["objective=sft_rejection_offline"], LADDER),
    "rollout.search": (SEARCH, ["objective=cold_start"], ["objective=sft_rejection_offline"]),
    "rollout.step_metrics": ("true", ["objective=sft_rejection_offline"], LADDER),
    "rollout.prompts_per_step": ("16", ["objective=cold_start"], LADDER),
    "rollout.group_size": ("4", ["objective=cold_start"], ["objective=cold_start", "eval.rerank=[outcome]"]),
    "rollout.max_sampler_kl": ("0.5", VERL, LADDER),
    "rollout.release": ("true", VERL, LADDER),
    "trainer.on_oom": ("halve_microbatch", VERL, LADDER),
    "trainer.steps": ("7", ["objective=cold_start"], ["objective=sft_rejection_offline"]),
    "trainer.parallel": ("sharded", LADDER, ["trainer.processes=2"]),
    "trainer.rank_timeout": ("9", LADDER, ["trainer.processes=2"]),
    "eval.outcome_model": ("{num_problems: 9}", LADDER, ["eval.rerank=[outcome]"]),
    "eval.process_model": ("{num_problems: 9}", LADDER, ["eval.rerank=[process]"]),
    "corpus": ("clean", HUB, LADDER),
    "corpus.direct_share": ("0.1", ["corpus.levels=[1]"], ["corpus.families.direct=[gcd]"]),
    "base_seed": ("5", HUB, LADDER),
    "tracking.project": ("mine", ["tracking.mode=disabled"], LADDER),
    "tracking.entity": ("me", ["tracking.mode=disabled"], LADDER),
    "tracking.dir": ("/tmp/wandb", ["tracking.mode=disabled"], LADDER),
    "tracking.completions": ("5", ["tracking.mode=disabled"], LADDER),
    "tracking.timeout": ("5", ["tracking.mode=disabled"], LADDER),
}
NEVER_IDLE = {"objective.kl.reference"}  # its other value is refused by a check where nothing reads it
# What a run reads and no name of it or its evaluations holds.
OUTSIDE = {
    "study",
    "output_dir",
    "device",
    "model.name",
    "data.name",
    "data.bad_rows",
    "data.answer_range",
    "rollout.cache_memory",
    "rollout.keep",
    "rollout.max_sampler_kl",
    "rollout.release",
    "trainer.checkpoint_every",
    "trainer.verl.nodes",
    "trainer.verl.gpus",
    "trainer.verl.tensor_parallel",
    "trainer.verl.sequence_parallel",
    "trainer.verl.attention",
    "trainer.verl.offload",
    "trainer.verl.memory",
    "trainer.verl.python",
    "trainer.verl.ray",
    "eval.splits",
    "eval.at_steps",
    "eval.base_templates",
    "tracking.mode",
    "tracking.project",
    "tracking.entity",
    "tracking.dir",
    "tracking.completions",
    "tracking.also",
    "tracking.timeout",
}
BASES = {"ladder": LADDER, "hub on a file": [*HUB, *FILE]}
# A pretrained model is named by its files' content; its shape is for estimates.
BY_CONTENT = {
    "model.source",
    "model.hub_id",
    "model.revision",
    "model.package",
    "model.path",
    "model.trust_remote_code",
    *(path for path in paths(RunConfig) if path.startswith("model.dims.")),
}
GIVEN = {
    "model.source": "gguf",
    "data.dataset": "general",
    "data.template": "r1_zero",
    "data.answer_rules": "[hashes]",
    "data.answer_range": "[0,5]",
    "data.families": "[divisors]",
    "data.heldout_families": "[gcd]",
    "data.levels": "[3]",
    "data.subjects": "[a]",
    "trainer.lora.targets": "[q_proj]",
    "eval.splits": "[test]",
    "eval.at_steps": "[3]",
    "eval.rerank": "[outcome]",
    "eval.base_templates": "[r1_zero]",
    "model.kept_text": "FILE",
    "objective.teacher.path": "/t",
    "rollout.top_p": "0.9",
    "objective.loss.dual_clip": "3",
    "rollout.vllm.memory": "0.4",
    "data.dose.percent": "50",
    "corpus.families.worked": "[remainder,gcd,digit_sum,linear_equation,polynomial,divisors,lattice_polygon,"
    "arithmetic]",
    "corpus.families.direct": "[divisors]",
    "corpus.families.absent": "[divisors]",
    "corpus.levels": "[1]",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(identity, "content", lambda model: {"weights": model.name})
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return str(path)


def composed(lines: list[str], file: str) -> RunConfig:
    return COMPOSER.config([line.replace("FILE", file) for line in lines])


def ruled(kind: type[Section], prefix: str = "") -> Iterator[str]:
    """Every setting with a rule, by the schema alone; parts of a composed field are never typed."""
    yield from (f"{prefix}{field}" for rule in kind.used for field in rule.fields)
    for name, field in kind.model_fields.items():
        for inner in () if name in kind.composed else sections_in(field.annotation):
            if inner is not kind:
                yield from ruled(inner, f"{prefix}{name}.")


def test_each_rule_has_its_case() -> None:
    assert set(ruled(RunConfig)) == set(CASES)


@pytest.mark.parametrize("path", sorted(set(CASES) - NEVER_IDLE))
def test_a_setting_that_nothing_reads_is_found_and_one_that_is_read_is_not(path: str, file: str) -> None:
    value, unused, used = CASES[path]
    for lines, expected in ((unused, [path]), (used, [])):
        config = composed([*lines, f"{path}={value}"], file)
        assert [one.path for one in unread([config])] == expected
        # At its default it is never found.
        assert unread([composed(lines, file)]) == []


@pytest.mark.parametrize("path", ["data.path", "model.path", "data.style"])
def test_it_is_enough_that_one_run_of_a_sweep_reads_it(path: str, file: str) -> None:
    value, unused, used = CASES[path]
    unused = [*HUB, *FILE] if path == "data.style" else unused
    pair = [composed([*lines, f"{path}={value}"], file) for lines in (unused, used)]
    assert unread(pair) == [] and [one.path for one in unread(pair[:1])] == [path]


@pytest.mark.parametrize("field", ["template", "answer_rules", "num_train"])
def test_what_a_mixture_decides_is_refused_of_its_parts(field: str) -> None:
    value = {"template": "chat", "answer_rules": "[hashes]", "num_train": "5"}[field]
    with pytest.raises(ConfigError, match=rf"^data\.components\.general_mini\.{field}="):
        Composer().config([*MIXTURE, f"data.components.general_mini.{field}={value}"])


def other(path: str, value: Any) -> str:
    """A value that a setting does not have, as it is typed."""
    if path in GIVEN:
        return GIVEN[path]
    annotation: Any = RunConfig
    for word in path.split("."):
        (section,) = sections_in(annotation)
        annotation = section.model_fields[word].annotation
    kinds = list(_plain(annotation))
    if bool in kinds:
        return str(not value).lower()
    if choices := [k for k in kinds if not isinstance(k, type) and k != value]:
        return str(choices[0])
    if float in kinds:
        return str(0.5 * value or 0.25) if isinstance(value, int | float) else "0.25"
    return str((value or 1) + 1) if int in kinds else "another"


def _plain(annotation: Any) -> Iterator[Any]:
    """The types and the literal values that an annotation allows."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is Annotated:
        yield from _plain(get_args(annotation)[0])
    elif get_args(annotation):
        for inner in get_args(annotation):
            yield from _plain(inner)
    elif annotation is not type(None):
        yield annotation


LEAVES = [
    path
    for path in paths(RunConfig)
    if not any(longer.startswith(f"{path}.") for longer in paths(RunConfig))
    and not path.startswith(("eval.benchmarks.", "data.components"))
    # The first reads published problems; the other two are checked with the files, before anything starts.
    and path not in ("data.drop_contaminated", "data.weight", "data.path")
]


@pytest.mark.parametrize("base", BASES)
def test_no_setting_is_ignored_in_silence(base: str, file: str) -> None:
    """Another value is refused, said to be unread, or makes another run, base or evaluation."""
    start = composed(BASES[base], file)
    names = (identity.run_identity(start), identity.eval_key(start))
    silent = []
    for path in LEAVES:
        value: Any = start
        for word in path.split("."):
            value = getattr(value, word, None)
        try:
            config = composed([*BASES[base], f"{path}={other(path, value)}"], file)
        except ConfigError:
            continue
        assert config != start, path
        known = OUTSIDE if config.model.is_ladder else OUTSIDE | BY_CONTENT
        if path in known and not any(one.path == path for one in unread([start, config])):
            continue
        if unread([config]) or (identity.run_identity(config), identity.eval_key(config)) != names:
            continue
        silent.append(path)
    assert silent == []


def test_nothing_of_conf_is_unread(file: str) -> None:
    composer = Composer()
    for group in ("model", "data", "objective", "experiment"):
        for option in composer.options(group):
            given = {
                "model=hub": "model.hub_id=a/b",
                "model=folder": "model.path=/a",
                "model=gguf": "model.path=/a",
            }
            given |= {"data=jsonl": f"data.path={file}", "data=hub": "data.hub_id=a/b"}
            given |= {"data=code": f"data.path={file}"}
            given |= {"data=function": f"data.function={FUNCTION}"}
            chosen = f"{group}={option}"
            lines = [chosen, *([given[chosen]] if chosen in given else [])]
            lines += ["objective.teacher.path=/t"] if option.startswith("distill") else []
            assert [one for one in unread([composer.config(lines)]) if not one.warn] == [], option


def test_it_is_refused_or_warned_about_by_plan_and_launch_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mode in ("--plan", "--config"):
        lines = [f"output_dir={tmp_path}", mode]
        assert main(["data.path=/nowhere.jsonl", *lines]) == 2
        said = capsys.readouterr().err
        assert "error: data.path=/nowhere.jsonl: nothing reads it" in said and "data=jsonl" in said
        assert main(["objective.kl.coef=0", "objective.kl.estimator=k1", *lines]) == 0
        assert "warning: objective.kl.estimator=k1: nothing reads it" in capsys.readouterr().err
