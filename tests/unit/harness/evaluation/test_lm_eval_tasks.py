"""What is asked of lm-eval, how it is checked before a launch, and what of its results is kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.evaluation import lm_eval_tasks
from harness.identity import eval_key, lm_eval_key, run_id
from harness.schema.eval_config import LmEvalConfig
from harness.schema.run_config import ConfigError
from tests.unit.harness.tiny import configure


def asked(task: str = "ifeval", **settings: Any) -> LmEvalConfig:
    return LmEvalConfig(task=task, **settings)


def test_a_bare_name_is_a_task_and_changes_no_other_name() -> None:
    plain, more = configure(), configure("eval.lm_eval=[ifeval, {task: hellaswag, limit: 100}]")
    assert [a.task for a in more.eval.lm_eval] == ["ifeval", "hellaswag"]
    assert more.eval.lm_eval[1].limit == 100
    assert run_id(plain) == run_id(more) and eval_key(plain) == eval_key(more)
    with pytest.raises(ConfigError, match="lm_eval: ifeval stands twice; give each task once"):
        configure("eval.lm_eval=[ifeval, {task: ifeval, limit: 3}]")


def test_a_key_is_the_protocols(tmp_path: Path) -> None:
    config = configure()
    keys = {lm_eval_key(config, asked(**more)) for more in ({}, {"limit": 3}, {"num_fewshot": 0})}
    assert len(keys) == 3
    assert lm_eval_key(configure("seed=1"), asked()) == lm_eval_key(config, asked())
    (tmp_path / "t.yaml").write_text("task: own\n")
    own = asked("own", include_path=str(tmp_path))
    before = lm_eval_key(config, own)
    (tmp_path / "t.yaml").write_text("task: own\nnum_fewshot: 3\n")
    assert lm_eval_key(config, own) != before


def test_what_cannot_be_loaded_is_one_line_before_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(names: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'langdetect'\nmore")

    manager = SimpleNamespace(all_tasks=["ifeval", "hellaswag", "hellaswag_de"], load=load)
    monkeypatch.setattr(lm_eval_tasks, "_manager", lambda path: manager)
    with pytest.raises(
        ConfigError, match=r"eval\.lm_eval\.swag: lm-eval has no such task; did you mean hellaswag\?"
    ):
        lm_eval_tasks.check_lm_eval(asked("swag"))
    with pytest.raises(
        ConfigError, match=r"eval\.lm_eval\.ifeval: cannot be loaded \(No module named"
    ) as caught:
        lm_eval_tasks.check_lm_eval(asked())
    assert "\n" not in str(caught.value)


def test_numbers_alone_are_kept_and_documents_do_not_depend_on_their_order() -> None:
    """ifeval's metric of instructions is a list a document: its mean is kept, and no scores."""
    rows = [
        {
            "doc_id": i,
            "doc_hash": f"h{i}",
            "filter": "none",
            "metrics": ["strict", "inst"],
            "strict": i == 1,
            "inst": [1, 0],
        }
        for i in (1, 0)
    ]
    results = {
        "strict,none": 0.5,
        "strict_stderr,none": "N/A",
        "inst,none": 0.5,
        "alias": "x",
        "sample_len": 2,
    }
    found = {
        "results": {"ifeval": results},
        "higher_is_better": {"ifeval": {"strict": True, "inst": None}},
        "versions": {"ifeval": 4.0},
        "samples": {"ifeval": rows},
    }
    fields = lm_eval_tasks._fields(found)
    assert fields["results"] == {"ifeval": {"strict,none": 0.5, "inst,none": 0.5}}
    assert fields["scores"] == {"ifeval": {"strict,none": [0.0, 1.0]}}
    assert fields["higher_is_better"] == {"ifeval": {"strict": True}} and fields["versions"] == {
        "ifeval": "4.0"
    }
    other = lm_eval_tasks._fields({**found, "samples": {"ifeval": rows[::-1]}})
    assert other["documents"] == fields["documents"] and fields["num_documents"] == {"ifeval": 2}
    fewer = lm_eval_tasks._fields({**found, "samples": {"ifeval": rows[:1]}})
    assert fewer["documents"] != fields["documents"]
