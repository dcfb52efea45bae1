"""The prompts of a whole run in the order of its steps, as verl reads them: a Parquet file.

verl renders a chat template itself. Ours is one that writes the message as it stands (`TEMPLATE`), and the
message is the whole prompt, with the model's own chat template and special tokens already in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.model.files.codec import Codec
from harness.schema.prompts import CHAT, make_prompt
from harness.schema.run_config import RunConfig
from harness.training.problem_order import problem_numbers
from harness.types import Problem, Prompt

TEMPLATE = "{{ messages[0]['content'] }}"


def prompt_text(prompt: Prompt, template: str, codec: Codec) -> str:
    """The text whose tokens are the prompt's. Raises ValueError where there is none."""
    begin = "".join(codec.tokenizer.id_to_token(token) or "" for token in codec.bos)
    text = codec.turn(prompt.text) if template in CHAT else begin + prompt.text
    if tuple(codec.encode(text)) != prompt.token_ids:
        raise ValueError(
            f"trainer.engine=verl: the prompt of problem {prompt.problem_id} is no text that this model's "
            "tokenizer reads back; choose another data.template, or trainer.engine=native"
        )
    return text


def write_prompts(
    config: RunConfig, problems: Sequence[Problem], codec: Codec, *, seed: int, folder: Path
) -> int:
    """Write train.parquet and problems.json; the longest prompt, in tokens. `seed` is data_order's.

    Row i is the problem of step i // prompts_per_step, from 0.
    """
    import pyarrow
    import pyarrow.parquet

    total = config.trainer.steps * config.rollout.prompts_per_step
    numbers = problem_numbers(range(total), total=len(problems), seed=seed)
    prompts = {n: make_prompt(problems[n], config.data.template, codec.prompt_ids) for n in {*numbers}}
    texts = {n: prompt_text(prompt, config.data.template, codec) for n, prompt in prompts.items()}
    rows = [_row(config, problems[n], texts[n], place) for place, n in enumerate(numbers)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "train.parquet")
    used = {problems[n].id: asdict(problems[n]) for n in prompts}
    (folder / "problems.json").write_text(json.dumps(used), encoding="utf-8")
    return max(len(prompt.token_ids) for prompt in prompts.values())


def read_problems(path: Path) -> dict[str, Problem]:
    """Problems by id, of a problems.json."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: Problem(**{**fields, "parts": tuple(fields["parts"])}) for name, fields in found.items()}


def _row(config: RunConfig, problem: Problem, text: str, place: int) -> dict[str, Any]:
    return {
        "data_source": config.data.dataset,
        "prompt": [{"role": "user", "content": text}],
        "reward_model": {"style": "rule", "ground_truth": problem.answer},
        "extra_info": {"place": place, "problem_id": problem.id},
    }
