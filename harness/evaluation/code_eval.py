"""lm-eval's tasks that run programs (HumanEval, MBPP), with programs confined as everywhere here.

Those tasks load Hugging Face's metric `code_eval`, which downloads a script and runs what a model wrote in a
child process with nothing taken from it. `confined` puts another metric of that name in its place.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from analysis.stats.metrics import pass_at_k
from harness.grading.code.pool import Suite, refusal, run_tests
from harness.schema.run_config import ConfigError

# Tasks whose programs go through `code_eval` and nowhere else, and need no package beside Python's library.
CONFINED = re.compile(r"(?:humaneval|mbpp)(?!.*_(?:plus|infilling))")


class CodeEval:
    """The part of the metric `code_eval` that lm-eval uses (Chen et al., arXiv:2107.03374 §2.1)."""

    def compute(
        self, *, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1,)
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """pass@k over problems, and each program's outcome by problem.

        `predictions` [problem][sample] are whole programs, `references` [problem] statements that raise
        nothing if the program is right. A name that they use and do not define is the program's.
        """
        results: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        for task, (reference, programs) in enumerate(zip(references, predictions, strict=True)):
            for i, program in enumerate(programs):
                (found,) = run_tests(program, Suite("", (reference,)))
                outcome = {"task_id": task, "passed": found == "passed", "result": found, "completion_id": i}
                results[task].append((i, outcome))
        right = [[one["passed"] for _, one in results[task]] for task in range(len(references))]
        fewest = min(map(len, right), default=0)
        return {f"pass@{n}": pass_at_k(right, n).value for n in k if n <= fewest}, results


def runs_programs(task: str) -> bool:
    """Whether a task of lm-eval is one of those that are run confined."""
    return CONFINED.match(task) is not None


@contextmanager
def confined(task: str) -> Iterator[bool]:
    """Let what lm-eval loads and runs inside use `CodeEval`; gives whether this task needs it.

    Raises ConfigError where it does and no program can be confined here.
    """
    if not runs_programs(task):
        yield False
        return
    if reason := refusal():
        raise ConfigError(
            f"eval.lm_eval.{task}: it runs programs, and none can be confined here ({reason}); leave it out"
        )
    import evaluate

    load = evaluate.load

    def ours(path: str, *args: Any, **keywords: Any) -> Any:
        return CodeEval() if path == "code_eval" else load(path, *args, **keywords)

    evaluate.load = ours
    try:
        yield True
    finally:
        evaluate.load = load
