"""Problems whose answers are programs: what makes them one, and whether this machine can run any."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from harness.grading.code.pool import refusal
from harness.grading.code.program import reference_of
from harness.grading.find.extraction import PROGRAM
from harness.schema.data_config import DataConfig
from harness.types import Problem


def check_programs(data: DataConfig, problems: Iterable[Problem]) -> None:
    """Raises ValueError where problems with tests are not read as such, or no program can be run here."""
    found = list(problems)
    if tuple(data.answer_rules) != PROGRAM:
        if tested := next((p for p in found if _has_tests(p.answer)), None):
            raise ValueError(
                f"answer_rules={','.join(data.answer_rules)} with tests as the answer of {tested.id}; set "
                "data.answer_rules=[program], as data=code does"
            )
        return
    for problem in found:
        try:
            reference_of(problem.answer)
        except ValueError:
            raise ValueError(
                f"data.answer_rules=[program]: problem {problem.id} has an answer and no tests; its row "
                "needs `tests` and `entry_point` (harness/data/README.md#programs-of-your-own)"
            ) from None
    if reason := refusal():
        raise ValueError(
            f"data.answer_rules=[program]: no program can be confined here ({reason}), and none is run "
            "otherwise; allow user namespaces (a container: --security-opt seccomp=unconfined) and install "
            "libseccomp2, or choose other data"
        )


@lru_cache(maxsize=65_536)
def _has_tests(answer: str) -> bool:
    if not answer.startswith('{"entry_point"'):
        return False
    try:
        reference_of(answer)
    except ValueError:
        return False
    return True
