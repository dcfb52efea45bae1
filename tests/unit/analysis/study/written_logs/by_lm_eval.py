"""Write lm_eval/ with lm-eval's own command line.

Made with lm-eval 0.4.13, by `python -m tests.unit.analysis.study.written_logs.by_lm_eval`. Task and model
stand here; the samples are what `--log_samples` writes. What a machine is made of is taken out of results.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from lm_eval.__main__ import cli_evaluate
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from tests.unit.analysis.study.written_logs.problems import PROBLEMS, answered

HERE = Path(__file__).resolve().parent
TASK = """
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{problem}}}}\\n"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], temperature: 0.0, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
filter_list: {filters}
metadata: {{version: 1.0}}
"""
STRICT = (
    "{name: strict-match, filter: [{function: regex, regex_pattern: '^(\\d+)$'}, {function: take_first}]}"
)
FLEXIBLE = (
    "{name: flexible-extract, filter: [{function: regex, regex_pattern: '(\\d+)'}, {function: take_first}]}"
)


@register_model("table")
class Table(LM):
    """Answers from the table of `model=first` or `model=second`."""

    def __init__(self, model: str, **_: object) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict, additional_config: dict | None = None) -> Table:
        return cls(arg_dict["model"])

    def generate_until(self, requests: list, disable_tqdm: bool = False) -> list[str]:
        return [answered(self.model, request.args[0]) for request in requests]

    def loglikelihood(self, requests: list, disable_tqdm: bool = False) -> list:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: list, disable_tqdm: bool = False) -> list:
        raise NotImplementedError


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for task, rows, filters in (
            ("sums", PROBLEMS, f"[{STRICT}, {FLEXIBLE}]"),
            ("few_sums", PROBLEMS[4:10], f"[{FLEXIBLE}]"),
        ):
            lines = [json.dumps({"problem": problem, "answer": answer}) for problem, answer in rows]
            (folder / f"{task}.jsonl").write_text("\n".join(lines) + "\n")
            text = TASK.format(task=task, file=folder / f"{task}.jsonl", filters=filters)
            (folder / f"{task}.yaml").write_text(text)
        for model in ("first", "second"):
            sys.argv = ["lm_eval", "run", "--model", "table", "--model_args", f"model={model}"]
            sys.argv += ["--tasks", "sums,few_sums", "--include_path", str(folder), "--log_samples"]
            sys.argv += ["--output_path", str(HERE / "lm_eval" / model)]
            cli_evaluate()
    for path in (HERE / "lm_eval").rglob("results_*.json"):
        results = json.loads(path.read_text()) | {"pretty_env_info": "", "git_hash": None}
        path.write_text(json.dumps(results, indent=2).replace(str(folder), "FOLDER"))


if __name__ == "__main__":
    main()
