"""Write inspect/ with Inspect's own `eval`, in an environment of its own (`pip install inspect_ai`).

Made with inspect_ai 0.3.285, by `PYTHONPATH=. python tests/unit/analysis/study/written_logs/by_inspect.py`.
Its stand-in model wants tiktoken's table from the network to count tokens; words are counted instead.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace

from tests.unit.analysis.study.written_logs.problems import EPOCHS, PROBLEMS, place

HERE = Path(__file__).resolve().parent
words = ModuleType("tiktoken")
vars(words)["get_encoding"] = lambda name: SimpleNamespace(encode=lambda text, **_: text.split())
sys.modules["tiktoken"] = words


def write(model: str, seed: int, folder: str) -> None:
    """One log: four problems, two epochs. The second model's seed 1 has them in the reverse order."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, get_model
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate

    asked: Counter[int] = Counter()

    def answer(messages: list, *_: object) -> ModelOutput:
        number = place(messages[-1].text)
        asked[number] += 1
        right = asked[number] <= EPOCHS[model][seed][number]
        return ModelOutput.from_content("mockllm/model", PROBLEMS[number][1] if right else "0")

    rows = [Sample(input=problem, target=target) for problem, target in PROBLEMS[:4]]
    if (model, seed) == ("second", 1):
        rows.reverse()
    task = Task(name="sums", dataset=MemoryDataset(rows), solver=generate(), scorer=match(numeric=True))
    eval(
        task,
        model=get_model("mockllm/model", custom_outputs=answer),
        epochs=2,
        max_samples=1,
        log_dir=folder,
        display="none",
    )


def main() -> None:
    for model, seeds in EPOCHS.items():
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                write(model, seed, folder)
                (found,) = Path(folder).glob("*.eval")
                target = HERE / "inspect" / f"{model}_s{seed}.eval"
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(found.read_bytes())


if __name__ == "__main__":
    main()
