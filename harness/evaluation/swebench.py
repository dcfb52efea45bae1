"""SWE-bench Verified: the official harness's predictions from any model of lm-eval, and its report read back.

    python -m harness.evaluation.swebench predict --model hf --model_args pretrained=<folder> --seeds 0,1 \\
        --out outputs/swe
    python -m swebench.harness.run_evaluation --dataset_name princeton-nlp/SWE-bench_Verified \\
        --predictions_path outputs/swe/predictions.seed0.jsonl --run_id seed0    # for each seed
    python -m harness.evaluation.swebench read outputs/swe NAME.seed0.json NAME.seed1.json

One patch a problem from one prompt: the issue and the files that were retrieved for it. The middle command is
not of this project, needs containers, and was never run here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.jsonl import read as read_rows
from harness.data.sources import read_hub
from harness.evaluation.score_lm import load_lm
from harness.evaluation.swebench_report import PROTOCOL, TASK, eval_record, patches_of, predictions_path
from harness.records.records import write_record

if TYPE_CHECKING:
    from lm_eval.api.model import LM

VERIFIED, RETRIEVED = "princeton-nlp/SWE-bench_Verified", "princeton-nlp/SWE-bench_bm25_13K"
PROMPT = """You are given an issue of a repository, and the files of it that are most likely to matter.

<issue>
{issue}
</issue>

{files}

Write a patch that resolves the issue. Answer with one unified diff in a block:

```diff
--- a/path/to/file.py
+++ b/path/to/file.py
@@ -1,3 +1,3 @@
```
"""
_BLOCK = re.compile(r"```[ \t]*(?:diff|patch)[ \t]*\n(?P<patch>.*?)(?:\n```|\Z)", re.DOTALL)
_TAG = re.compile(r"<patch>\n?(?P<patch>.*?)(?:</patch>|\Z)", re.DOTALL)  # what the BM25 sets ask for
_PLAIN = re.compile(r"^(?:diff --git |--- )", re.MULTILINE)


def prompt_of(row: Mapping[str, Any]) -> str:
    """A row's `text` as it stands, else PROMPT with its `problem_statement` and `files` (path -> content).

    Raises ValueError for a row with neither.
    """
    if isinstance(text := row.get("text"), str) and text.strip():
        return text
    issue, files = row.get("problem_statement"), row.get("files")
    if not isinstance(issue, str) or not isinstance(files, dict):
        raise ValueError("give `text`, or `problem_statement` with `files`, {path: content}")
    shown = "\n\n".join(f"<file path={path!r}>\n{content}\n</file>" for path, content in files.items())
    parts = {"issue": issue, "files": shown}
    return re.sub(r"\{(issue|files)\}", lambda place: parts[place[1]], PROMPT)


def patch_in(completion: str) -> str:
    """The last diff of a completion: a block, a <patch>, or what begins as one; "" where there is none."""
    said = completion.rpartition("</think>")[2]
    for pattern in (_BLOCK, _TAG):
        if found := [match["patch"] for match in pattern.finditer(said)]:
            return found[-1].strip("\n") + "\n" if found[-1].strip() else ""
    plain = _PLAIN.search(said)
    return said[plain.start() :].strip("\n") + "\n" if plain else ""


def problems(path: Path | None, limit: int | None) -> dict[str, str]:
    """Instance -> prompt, of a JSON Lines file, or (None) of the hub's retrieved files for Verified.

    Raises ValueError for what cannot be read, and for a bad row.
    """
    found: dict[str, str] = {}
    for where, row in _hub() if path is None else read_rows(path, f"--problems={path}"):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            if not isinstance(name := row.get("instance_id"), str) or name in found:
                raise ValueError(f"instance_id={name!r}: give each problem one of its own")
            found[name] = prompt_of(row)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if not found:
        raise ValueError(f"--problems={path}: no problems there")
    return dict(list(found.items())[:limit])


def _hub() -> Any:
    remedy = "give a file: --problems FILE"
    names = set(read_hub(VERIFIED, None, f"--problems: {VERIFIED}", remedy, split="test")["instance_id"])
    rows = read_hub(RETRIEVED, None, f"--problems: {RETRIEVED}", remedy, split="test")
    return [(f"{RETRIEVED}, row {i}", row) for i, row in enumerate(rows) if row["instance_id"] in names]


def predict(
    lm: LM,
    prompts: Mapping[str, str],
    out: Path,
    *,
    seeds: Sequence[int],
    name: str,
    protocol: Mapping[str, Any],
) -> list[Path]:
    """Write `out`/predictions.seed<S>.jsonl for each seed, a line a problem, and the protocol beside them.

    `protocol` says how to sample: temperature, top_p, max_new_tokens, apply_chat_template; the rest is for
    the record. A seed sets PyTorch's generator; an endpoint gets none.
    """
    from lm_eval.api.instance import Instance

    out.mkdir(parents=True, exist_ok=True)
    asked: list[Any] = list(prompts.values())
    if protocol["apply_chat_template"]:
        asked = [lm.apply_chat_template([{"role": "user", "content": text}]) for text in asked]
    options = {
        "do_sample": protocol["temperature"] > 0,
        "temperature": protocol["temperature"],
        "top_p": protocol["top_p"],
        "max_gen_toks": protocol["max_new_tokens"],
        "until": [],
    }
    if hasattr(lm, "_seed"):
        lm._seed = None  # as in score_lm: a server that obeys one gives every seed the same answers
    paths, start = [], time.perf_counter()
    for seed in seeds:
        if "torch" in sys.modules:
            import torch

            torch.manual_seed(seed)
        requests = [
            Instance("generate_until", {}, (text, dict(options)), 0, (TASK, i, 1))
            for i, text in enumerate(asked)
        ]
        texts = lm.generate_until(requests)
        rows = [
            {"instance_id": instance, "model_name_or_path": name, "model_patch": patch_in(text or "")}
            for instance, text in zip(prompts, texts, strict=True)
        ]
        path = predictions_path(out, seed)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths.append(path)
    content = hashlib.sha256(json.dumps(dict(prompts)).encode()).hexdigest()
    said = {**protocol, "model": name, "seeds": list(seeds), "problems": content}
    said["seconds"] = round(time.perf_counter() - start, 1)
    (out / PROTOCOL).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return paths


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for bad input."""
    options = _parser().parse_args(argv)
    try:
        (_predict if options.command == "predict" else _read)(options)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _predict(options: argparse.Namespace) -> None:
    given = dict(pair.split("=", 1) for pair in options.model_args.split(",") if "=" in pair)
    name = options.name or Path(given.get("pretrained") or given.get("model") or options.model).name
    prompts = problems(options.problems, options.limit)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    protocol = {
        "model_type": options.model,
        "model_args": given,
        "apply_chat_template": options.apply_chat_template,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_new_tokens": options.max_new_tokens,
    }
    settings = {"batch_size": options.batch_size, "device": options.device}
    lm = load_lm(options.model, options.model_args, settings)
    for seed, path in zip(
        seeds, predict(lm, prompts, options.out, seeds=seeds, name=name, protocol=protocol), strict=True
    ):
        empty = sum(not patch for patch in patches_of(path).values())
        print(f"{path}: {len(prompts)} problems, {empty} without a patch; now, where containers run:")
        print(
            f"  python -m swebench.harness.run_evaluation --dataset_name {VERIFIED} "
            f"--predictions_path {path} --run_id seed{seed}"
        )


def _read(options: argparse.Namespace) -> None:
    record = eval_record(options.out, options.reports)
    path = options.out / "eval" / record.checkpoint / f"{TASK}.json"
    write_record(path, record)
    m = record.metrics
    line = f"{TASK}: resolved {100 * m['avg_at_k']:.1f} %, over {record.n_problems} problems "
    line += f"[{100 * m['wilson_low']:.1f}, {100 * m['wilson_high']:.1f}] (Wilson)"
    if "seeds_low" in m:
        line += f", over {record.k} seeds [{100 * m['seeds_low']:.1f}, {100 * m['seeds_high']:.1f}] (t)"
    print(f"{line}\n{path}")


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m harness.evaluation.swebench", description=about)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("predict", help="write predictions.seed<S>.jsonl")
    one.add_argument("--model", required=True, help="lm-eval's name: hf, vllm, local-chat-completions, ...")
    one.add_argument("--model_args", default="", help="as for lm_eval: a=1,b=2")
    one.add_argument(
        "--problems", type=Path, help="JSON Lines file; default: the hub's BM25 files of Verified"
    )
    one.add_argument("--limit", type=int, help="the first so many problems")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--name", help="model_name_or_path; default: its pretrained= or model=")
    one.add_argument("--seeds", default="0", help="0,1,2: a file of predictions each")
    one.add_argument("--temperature", type=float, default=0.6)
    one.add_argument("--top_p", type=float, default=0.95)
    one.add_argument("--max_new_tokens", type=int, default=32768)
    one.add_argument("--batch_size", default="1")
    one.add_argument("--device", default="cpu")
    one.add_argument("--apply_chat_template", action="store_true")
    two = commands.add_parser("read", help="the harness's reports as a record")
    two.add_argument("out", type=Path, help="the folder of the predictions")
    two.add_argument("reports", type=Path, nargs="+", help="one for each seed, in the order of --seeds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
