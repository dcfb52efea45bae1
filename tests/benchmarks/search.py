"""Tokens a second of search against plain sampling of the same model, with as many rows decoding at once.

    python -m tests.benchmarks.search --run outputs/STUDY/RUN_ID [--device cuda] [--rows 256] [--problems 256]

A finished run names a base, its problems and its protocol; the base is searched from. Each search spends
`--budget` tokens on each problem by the oracle, whose values cost nothing; plain sampling draws about as
many. Medians of interleaved runs; read the ratios. Counted is what the engine decoded, prompts and given
steps apart, over the time of all that a search does: on a CPU its own seconds, to which other programs on a
busy machine do not add. There the parts are timed, too: prefills of prompts with given steps, which is the
most that a cache of them could save, and the reading of outputs. `--json FILE --name NAME` adds the numbers
to a file, to compare versions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.data.documents import problems_to_evaluate
from harness.identity import base_folder
from harness.model.files.codec import Codec
from harness.records.code_state import code_state, hardware, packages
from harness.records.records import read_run
from harness.rollout.columns import ColumnSampler
from harness.rollout.engines import load_engine
from harness.rollout.scheduler import Scheduler
from harness.rollout.search.drive import Reader, Searcher
from harness.rollout.search.judges import oracle
from harness.schema.prompts import make_prompt
from harness.schema.run_config import RunConfig
from harness.schema.search_config import SearchConfig
from harness.seeds import derive
from harness.types import Problem, Prompt, RolloutEngine, SamplingParams

SEARCHES: dict[str, dict[str, Any]] = {
    "best_of_n": {"fn": "best_of_n"},
    "beam": {"fn": "beam"},
    "mcts": {"fn": "mcts"},
    "mcts, parallel 4": {"fn": "mcts", "parallel": 4},
}
# What is timed on a CPU: where, and which method.
PARTS: dict[str, tuple[type, str]] = {
    "decoding": (ColumnSampler, "advance"),
    "prefill": (Scheduler, "_prefill"),
    "reading": (Searcher, "_output"),
    "round": (Searcher, "_outputs"),
}


@contextmanager
def _timed(owner: type, method: str, name: str, spent: Counter[str]) -> Iterator[None]:
    """Add the CPU seconds of every call to `spent`, and count the calls."""
    own = getattr(owner, method)

    def timed(*given: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return own(*given, **named)
        finally:
            spent[name] += time.process_time() - start
            spent[f"calls of {name}"] += 1

    setattr(owner, method, timed)
    try:
        yield
    finally:
        setattr(owner, method, own)


class Bench:
    """One base with its problems, and what is timed on it."""

    def __init__(self, config: RunConfig, weights: Path, device: str, problems: int, budget: int) -> None:
        self.config, self.budget = config, budget
        self.clock = time.process_time if device == "cpu" else time.perf_counter
        self.engine: RolloutEngine
        self.codec: Codec
        _, self.engine, self.codec = load_engine(config, weights, device)
        self.params = SamplingParams(
            max_new_tokens=config.eval.max_new_tokens, temperature=config.eval.temperature
        )
        found, template = (
            problems_to_evaluate(config.measured_data, "test", None),
            config.measured_data.template,
        )
        self.problems: list[Problem] = [found[i % len(found)] for i in range(problems)]
        self.prompts: list[Prompt] = [make_prompt(p, template, self.codec.prompt_ids) for p in self.problems]

    def parts(self, settings: dict[str, Any]) -> dict[str, float]:
        """Seconds of one search, the shares of its parts, and its rounds."""
        spent: Counter[str] = Counter()
        with ExitStack() as stack:
            for name, (owner, method) in PARTS.items():
                stack.enter_context(_timed(owner, method, name, spent))
            start = self.clock()
            self.searched(settings)
            seconds = self.clock() - start
        shares = {name: round(spent[name] / seconds, 3) for name in PARTS if name != "round"}
        return {**shares, "rounds": spent["calls of round"], "seconds": round(seconds, 2)}

    def plain(self) -> float:
        """Tokens a second of independent outputs, at the longest a quarter of the budget or more."""
        repeated = [p for p in self.prompts for _ in range(max(1, self.budget // self.params.max_new_tokens))]
        start = self.clock()
        found = self.engine.generate(repeated, params=self.params, seeds=range(len(repeated)))
        return sum(len(r.completion_ids) for r in found) / (self.clock() - start)

    def searched(self, settings: dict[str, Any]) -> float:
        """Tokens a second of one search."""
        search = SearchConfig.model_validate({"value": "oracle", "budget": self.budget, **settings})
        data = self.config.measured_data
        rules = tuple(data.answer_rules)
        searcher = Searcher(
            engine=self.engine,
            config=search,
            params=self.params,
            reader=Reader(self.codec.decode, rules),
            seed=lambda place, simulation: derive(0, place, simulation),
            judge=oracle(self.problems, rules=rules, symbolic=data.symbolic, template=data.template),
        )
        start = self.clock()
        found = searcher.run(self.problems, self.prompts)
        return sum(of.sampled for of in found) / (self.clock() - start)


def measure(bench: Bench, repeats: int) -> dict[str, float]:
    """Median tokens a second of plain sampling and of each search; a first round warms up."""
    rounds = [
        {"plain": bench.plain(), **{name: bench.searched(settings) for name, settings in SEARCHES.items()}}
        for _ in range(repeats + 1)
    ][1:]
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Print a line a search, and write the numbers where `--json` says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--budget", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--name", default="now")
    options = parser.parse_args(argv)
    record = read_run(options.run)
    config = RunConfig.model_validate(record.config)
    rollout = config.rollout.model_copy(update={"max_batch_size": options.rows})
    config = config.model_copy(update={"output_dir": str(options.run.parent.parent), "rollout": rollout})
    torch.set_num_threads(config.threads)
    weights = base_folder(config) / "model"
    bench = Bench(config, weights, options.device, options.problems, options.budget)
    found = measure(bench, options.repeats)
    for name, rate in found.items():
        print(f"{name:20} {rate:10,.0f} tokens/s   {rate / found['plain']:.2f} of plain sampling")
    parts = {n: bench.parts(settings) for n, settings in SEARCHES.items()} if options.device == "cpu" else {}
    for name, each in parts.items():
        print(f"{name:20} {each}")
    made = {
        "model": config.model.name,
        "rows": options.rows,
        "problems": options.problems,
        "budget": options.budget,
        "tokens_per_second": {name: round(rate) for name, rate in found.items()},
        "share_of_plain": {name: round(rate / found["plain"], 3) for name, rate in found.items()},
        "parts": parts,
        "code": code_state(),
        "hardware": hardware(options.device),
        "packages": packages(),
    }
    if options.json is not None:
        held = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
        held[options.name] = made
        options.json.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    return made


if __name__ == "__main__":
    main()
