"""Write verl/ with the function that writes verl's validation generations, taken out of its package.

Made with verl 0.9.1: `pip download --no-deps verl==0.9.1`, then
`python -m tests.unit.analysis.study.written_logs.by_verl verl-0.9.1-py3-none-any.whl`. The trainer itself
needs Ray and a GPU: its columns, `acc` and `reward` among them, were read in `_validate`.
"""

from __future__ import annotations

import ast
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.analysis.study.written_logs.problems import EPOCHS, PROBLEMS

HERE = Path(__file__).resolve().parent
MODULE = "verl/trainer/ppo/ray_trainer.py"


def writer(wheel: str) -> Any:
    """Find RayPPOTrainer._write_generations and make it a function of its own."""
    text = zipfile.ZipFile(wheel).read(MODULE).decode()
    found = next(
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == "_write_generations"
    )
    source = textwrap.dedent(ast.get_source_segment(text, found) or "")
    names: dict[str, Any] = {}
    exec(f"import json, os\nimport numpy as np\n{source}", names)
    return names["_write_generations"]


def main(wheel: str) -> None:
    write = writer(wheel)
    for model, seeds in EPOCHS.items():
        for step, seed in ((20, 0), (40, 1)):
            asked = [number for number in range(4) for _ in range(2)]
            right = [j < seeds[seed][number] for number in range(4) for j in range(2)]
            scores = [1.0 if r else -1.0 for r in right]
            write(
                [f"user\n{PROBLEMS[number][0]}\nassistant\n" for number in asked],
                [PROBLEMS[number][1] if r else "0" for number, r in zip(asked, right, strict=True)],
                [PROBLEMS[number][1] for number in asked],
                scores,
                {"reward": scores, "acc": list(np.array(right))},
                str(HERE / "verl" / model),
                step,
            )


if __name__ == "__main__":
    main(sys.argv[1])
