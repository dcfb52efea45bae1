"""lm-eval's tasks of programs, as lm-eval runs them, with its executor replaced: none runs unconfined."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.evaluation import code_eval, lm_eval_tasks
from harness.evaluation.code_eval import CodeEval, runs_programs
from harness.grading.code.pool import refusal
from harness.schema.eval_config import LmEvalConfig
from harness.schema.run_config import ConfigError

needs_confinement = pytest.mark.skipif(
    bool(refusal()), reason=f"no program can be confined here: {refusal()}"
)

# Four documents in HumanEval's form. The last one's tests call a helper of the prompt.
DOUBLE = "def double(x):\n    '''Give twice x.'''\n"
SQUARE = "def square(x):\n    '''Give x times x.'''\n"
ENDS = "import math\n\ndef ends(text):\n    '''Give the first and last letter.'''\n"
SHIFT = "def shift(x):\n    return x + 1\n\ndef unshift(x):\n    '''Undo shift.'''\n"
ROWS = [
    (DOUBLE, "double", "assert candidate(2) == 4\n    assert candidate('a') == 'aa'"),
    (SQUARE, "square", "for x in range(5):\n        assert candidate(x) == x ** 2"),
    (ENDS, "ends", "assert candidate('abc') == ('a', 'c')"),
    (SHIFT, "unshift", "for x in range(5):\n        assert candidate(shift(x)) == x"),
]
ANSWERS = {
    DOUBLE: "    return 2 * x\n",
    SQUARE: "    import os\n    os._exit(0)\n",
    ENDS: "    class All(tuple):\n        def __eq__(self, other): return True\n    return All()\n",
    SHIFT: "    return x - 1\n\nprint('and so on')\n",
}


def test_pass_at_k_of_whole_programs() -> None:
    """Two of four right: pass@1 = 1/2, pass@2 = 1 - C(2,2)/C(4,2) = 5/6; then none right. Means 1/4, 5/12."""
    if refusal():
        pytest.skip("no program can be confined here")
    right, wrong = "def f(x): return x + 1", "def f(x): return x"
    found, results = CodeEval().compute(
        references=["assert f(1) == 2", "assert f(1) == 3"],
        predictions=[[right, wrong, wrong, right], [right] * 4],
        k=[1, 2, 8],
    )
    assert found == pytest.approx({"pass@1": 0.25, "pass@2": 5 / 12})
    assert [one["passed"] for _, one in results[0]] == [True, False, False, True]
    assert results[1][0] == (
        0,
        {"task_id": 1, "passed": False, "result": "AssertionError", "completion_id": 0},
    )


@pytest.mark.parametrize(
    ("task", "is_confined"),
    [
        *(("humaneval", True), ("humaneval_instruct", True), ("humaneval_64", True), ("mbpp", True)),
        *(("humaneval_plus", False), ("mbpp_plus_instruct", False), ("humaneval_infilling", False)),
        *(("gsm8k", False), ("longproc_pseudo_to_code_2k", False)),
    ],
)
def test_which_tasks_are_confined(task: str, is_confined: bool) -> None:
    assert runs_programs(task) is is_confined


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """lm-eval's own humaneval, its code included, over the documents of ROWS."""
    import lm_eval.tasks.humaneval as theirs

    source = Path(next(iter(theirs.__path__)))
    task = yaml.load((source / "humaneval.yaml").read_text(), Loader=_Loader)
    task |= {"task": "humaneval_toy", "dataset_path": "json"}
    task["dataset_kwargs"] = {"data_files": {"test": str(tmp_path / "toy.jsonl")}}
    shutil.copy(source / "utils.py", tmp_path / "utils.py")
    (tmp_path / "toy.yaml").write_text(
        yaml.dump(task).replace("'!function ", "!function ").replace("ions'", "ions").replace("at_k'", "at_k")
    )
    rows = [
        {
            "task_id": f"T/{i}",
            "prompt": p,
            "entry_point": name,
            "test": f"def check(candidate):\n    {body}\n",
        }
        for i, (p, name, body) in enumerate(ROWS)
    ]
    (tmp_path / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


class _Loader(yaml.SafeLoader):
    """Reads `!function utils.f` as that text."""


_Loader.add_constructor("!function", lambda loader, node: f"!function {node.value}")


def _model() -> Any:
    from lm_eval.api.model import LM

    class Scripted(LM):
        def generate_until(self, requests: list[Any]) -> list[str]:
            return [ANSWERS[request.args[0]] for request in requests]

        def loglikelihood(self, requests: list[Any]) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    return Scripted()


@needs_confinement
def test_lm_eval_runs_humaneval_through_the_sandbox(folder: Path) -> None:
    """A solution passes, also before code that goes on; an exit and an equality of all things do not."""
    asked = LmEvalConfig(task="humaneval_toy", include_path=str(folder))
    lm_eval_tasks.check_lm_eval(asked)
    found = lm_eval_tasks._run(_model(), asked, chat=False)
    fields = lm_eval_tasks._fields(found)
    assert fields["scores"]["humaneval_toy"] == {"pass@1,create_test": [1.0, 0.0, 0.0, 1.0]}
    assert fields["results"]["humaneval_toy"] == {"pass@1,create_test": 0.5}


def test_without_confinement_nothing_is_loaded_or_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_eval, "refusal", lambda: "user namespaces: no")
    asked = LmEvalConfig(task="humaneval_toy", include_path=str(folder))
    line = r"eval\.lm_eval\.humaneval_toy: .* none can be confined here \(user namespaces: no\)"
    with pytest.raises(ConfigError, match=line):
        lm_eval_tasks.check_lm_eval(asked)
    with pytest.raises(ConfigError, match=line):
        lm_eval_tasks._run(_model(), asked, chat=False)


def test_other_tasks_that_run_programs_are_refused(folder: Path) -> None:
    path = folder / "toy.yaml"
    path.write_text(
        path.read_text().replace("humaneval_toy", "own_toy").replace("utils.pass_at_k", "own.zero")
    )
    path.write_text(path.read_text().replace("utils.build_predictions", "own.same"))
    (folder / "own.py").write_text("def zero(**_): return 0.0\ndef same(resps, docs): return resps\n")
    with pytest.raises(ConfigError, match=r"eval\.lm_eval\.own_toy: own_toy runs what a model wrote, unconf"):
        lm_eval_tasks.check_lm_eval(LmEvalConfig(task="own_toy", include_path=str(folder)))
