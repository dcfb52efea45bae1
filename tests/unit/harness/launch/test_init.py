"""The commented ablation that `init` writes, the reference of its keys, and configuration elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from harness.launch.ablation import AblationSpec, Primary
from harness.launch.expand import expand
from harness.launch.init import TEMPLATE
from harness.launch.rates import RateGrid
from harness.launch.run import main
from harness.schema.presets import CONF
from harness.schema.run_config import ConfigError

README = Path(__file__).resolve().parents[4] / "conf" / "README.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_written_ablation_composes_and_names_itself(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "ablation", "mine"]) == 0
    said = capsys.readouterr().out
    assert said == (
        "written: conf/ablation/mine.yaml; edit it, then: "
        "python -m harness --config-dir=conf ablation=mine --plan\n"
    )
    sweep = expand(["ablation=mine"], multirun=True, config_dir="conf")
    assert len(sweep.jobs) == 10 and sweep.jobs[0].config.study == "mine"
    assert sweep.composer.flags == ["--config-dir=conf"]
    assert main(["init", "ablation", "mine"]) == 2
    assert "conf/ablation/mine.yaml is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ablation", "quickstart"], "there is an ablation of this name"),
        (["ablation", "a/b"], "use letters, digits"),
        (["objective", "mine"], "invalid choice: 'objective'"),
        (["ablation"], "required: NAME"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    arguments: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (folder / "conf").exists()


def test_every_commented_line_composes_in_its_place() -> None:
    """Each `# key: ...` of the template, put in place of the line it stands for, is a valid ablation."""
    lines = TEMPLATE.read_text().splitlines()
    base = yaml.safe_load("\n".join(lines))["ablation"]
    tried = 0
    for line in lines:
        text = line.strip().removeprefix("# ")
        key = text.partition(":")[0]
        if line.startswith("  # ") and key in AblationSpec.model_fields and "{" + key not in line:
            given = yaml.safe_load(text)
            levels = base["factors"]["objective"]
            names = ("nulls", "ceiling", "family", "primary")
            own = {key: given[key]} if key not in names else {}
            AblationSpec.model_validate({**base, **own})
            assert key != "family" or set(given["family"]) <= set(levels)
            tried += 1
    assert tried >= 6


def test_every_key_stands_in_the_template_and_in_the_reference() -> None:
    table = README.read_text(encoding="utf-8").split("| key of `ablation` |")[1].split("\n\n")[0]
    text = TEMPLATE.read_text(encoding="utf-8")
    for name in AblationSpec.model_fields:
        assert f"\n  {name}:" in text or f"\n  # {name}:" in text, name
    for name in set(AblationSpec.model_fields) - {"primary", "lr_grid"}:
        assert f"| `{name}` |" in table, name
    for section, kind in (("primary", Primary), ("lr_grid", RateGrid)):
        for name in kind.model_fields:
            assert f"`{section}.{name}`" in table or f"`.{name}`" in table, name


def test_help_lists_the_options_of_ones_own_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own" / "objective").mkdir(parents=True)
    (folder / "own" / "objective" / "zz_mine.yaml").write_text("name: zz_mine\n")
    for arguments in (["--config-dir", "own", "--help"], ["--help", "--config-dir=own"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "zz_mine" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "zz_mine" not in capsys.readouterr().out


def test_a_preset_of_ones_own_may_be_a_benchmark(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own" / "data").mkdir(parents=True)
    (folder / "rows.jsonl").write_text(json.dumps({"problem": "1+1", "answer": 2, "split": "test"}))
    preset = "name: mine\ndataset: jsonl\ntemplate: question\nanswer_rules: [boxed]\n"
    (folder / "own" / "data" / "mine.yaml").write_text(f"{preset}answer_range: null\npath: rows.jsonl\n")
    arguments = ["--config-dir", "own", "eval.benchmarks=[{task: mine, k: 1, max_new_tokens: 24}]"]
    assert main([*arguments, "--config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out.partition("\n")[2])
    assert shown["eval"]["benchmarks"][0]["own"]["path"] == "rows.jsonl"
    (folder / "rows.jsonl").unlink()
    assert main([*arguments, "--config"]) == 2
    assert "eval.benchmarks.mine: data.path=rows.jsonl" in capsys.readouterr().err


def objective_in(page: str) -> str:
    return re.findall(r"```yaml\n(name: .*?)```", page, re.S)[0]


@pytest.mark.parametrize("page", ["README.md", "README.ja.md"])
def test_the_objective_shown_to_a_newcomer_runs_elsewhere(folder: Path, page: str) -> None:
    """Copied under another name it is grpo, slot by slot; a slot less is named, all of them at once."""
    text = objective_in((README.parents[1] / page).read_text(encoding="utf-8"))
    path = folder / "own" / "objective" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("name: grpo ", "name: mine "))
    (mine,) = expand(["objective=mine"], multirun=False, config_dir="own").runs
    (theirs,) = expand(["objective=grpo"], multirun=False).runs
    assert mine.config.objective.name == "mine"
    assert mine.config.objective.model_copy(update={"name": "grpo"}) == theirs.config.objective
    slots = ("selection", "ratio", "updates")
    kept = [line for line in path.read_text().splitlines(True) if not line.startswith(slots)]
    path.write_text("".join(kept))
    with pytest.raises(ConfigError, match=r"lacks selection, ratio, updates; conf/objective/grpo\.yaml has"):
        expand(["objective=mine"], multirun=False, config_dir="own")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("model: ladder_m", "model is a group, .* `defaults: \\[{override /model: ladder_m}\\]`"),
        ("model: {name: ladder_m}", "only the name is set, the dimensions are those of ladder_xs"),
        ("defaults: [{override /model: ladder_m}]", ""),
        ("model: {name: my_model}", ""),
    ],
)
def test_a_file_cannot_call_a_model_what_it_is_not(folder: Path, line: str, said: str) -> None:
    """ladder_m has 5 layers, ladder_xs, which is the default, 4."""
    path = folder / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{line}\n")
    if said:
        with pytest.raises(ConfigError, match=said):
            expand(["experiment=mine"], multirun=False, config_dir="own")
        return
    (run,) = expand(["experiment=mine"], multirun=False, config_dir="own").runs
    layers = run.config.model.dims.num_layers if run.config.model.dims else None
    assert (run.config.model.name, layers) in (("ladder_m", 5), ("my_model", 4))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("objective: {name: dapo}", "objective.name=dapo: only the name is set, the slots are those of grpo"),
        ("objective: {name: dappo}", r"only the name is set, .*; did you mean dapo or "),
        ("objective: {name: dapo, kl: {coef: 0}}", "the option is grpo, and dapo is another; choose it"),
        ("objective: {name: mine, kl: {coef: 0}}", ""),
        ("objective: dapo", "objective is a group, .* `defaults: \\[{override /objective: dapo}\\]`"),
        ("data: {name: gsm8k}", "data.name=gsm8k: the option is aime_gen_mini, and gsm8k is another"),
        ("data: {name: mine}", ""),
        ("data: math", "data is a group, .* `defaults: \\[{override /data: math}\\]`"),
    ],
)
def test_a_file_cannot_call_a_run_what_it_is_not(folder: Path, line: str, said: str) -> None:
    """An objective of which only the name is set is grpo, the default, under another name."""
    path = folder / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{line}\n")
    if said:
        with pytest.raises(ConfigError, match=said):
            expand(["experiment=mine"], multirun=False, config_dir="own")
        return
    (run,) = expand(["experiment=mine"], multirun=False, config_dir="own").runs
    assert "mine" in (run.config.objective.name, run.config.data.name)


def test_a_copied_option_with_its_old_name_is_named(folder: Path) -> None:
    path = folder / "own" / "objective" / "mine.yaml"
    path.parent.mkdir(parents=True)
    text = (CONF / "objective" / "grpo.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("clip_high: 0.2", "clip_high: 0.3"))
    with pytest.raises(ConfigError, match=r"mine\.yaml: name: grpo is .* another option; write name: mine"):
        expand(["objective=mine"], multirun=False, config_dir="own")


def test_a_folder_without_groups_is_refused(folder: Path) -> None:
    (folder / "mine.yaml").write_text("name: mine\n")
    with pytest.raises(ConfigError, match=r"--config-dir \.: no GROUP/NAME\.yaml in it"):
        expand([], multirun=False, config_dir=".")
