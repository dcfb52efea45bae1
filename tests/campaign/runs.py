"""Tiny runs for faults to strike: settings, a launch in a forked process, and what two of them must share."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.reproducible import reproducible

LIMIT = 90.0  # seconds after which a launch counts as hung
COMMON = (
    "experiment=smoke",
    "study=s",
    "device=cpu",
    "trainer.steps=3",
    "trainer.checkpoint_every=1",
    "trainer.lr=3e-3",
    "rollout.keep=2",
    "rollout.prompts_per_step=2",
    "rollout.max_new_tokens=12",
    "data.num_test=4",
    "eval.max_new_tokens=12",
    "eval.splits=[test]",
    "eval.greedy=false",
    "tracking.mode=disabled",
)
RANDOM = "objective.reward.random=1"  # a reward that varies, so that weights move
VARIANTS: dict[str, tuple[str, ...]] = {
    "grpo": ("objective=grpo", RANDOM),
    "ppo": ("objective=ppo", RANDOM, "objective.updates.minibatches=2"),
    "dapo": ("objective=dapo", RANDOM, "objective.selection.by=reward", "objective.selection.max_sampled=2"),
    "sft": ("objective=sft_rejection", "objective.reward.accuracy=0", RANDOM),
    "offline": ("objective=sft_rejection_offline", "objective.reward.accuracy=0", RANDOM),
    "distill": ("objective=distill_on_policy", "objective.teacher={path: null, pretrain_steps: 70}"),
    "lora": ("objective=grpo", RANDOM, "trainer.lora={rank: 4, alpha: 8}"),
    "adamw_8bit": ("objective=grpo", RANDOM, "trainer.optimizer=adamw_8bit"),
    "adaptive_kl": ("objective=grpo", RANDOM, "objective.kl.target=1e-6"),
    "refreshed": ("objective=grpo", RANDOM, "objective.kl.refresh_every=2"),
    "rerank": ("objective=grpo", RANDOM, "eval.rerank=[outcome]", "eval.outcome_model.num_problems=16"),
    "process": ("objective=grpo_process", RANDOM),
}
if find_spec("bitsandbytes") is None:
    del VARIANTS["adamw_8bit"]


@dataclass
class Ended:
    """How a launch ended: exit code (negative: a signal's number), what it printed, and whether it hung."""

    code: int
    text: str
    hung: bool = False

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.text


@dataclass
class Verdict:
    """One fault and what became of it. `survived` outcomes are identical, named and unread."""

    kind: str
    seed: int
    what: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0
    faults: int = 1

    @property
    def survived(self) -> bool:
        return self.outcome in ("identical", "named", "unread")


@dataclass
class Work:
    """A folder of this campaign's, with the runs that nothing struck."""

    folder: Path
    jobs: list[str] = field(default_factory=list)

    def reference(self, variant: str, *lines: str) -> Path:
        """Outputs of an uninterrupted run, made once."""
        place = self.folder / "reference" / "-".join([variant, *lines]).replace("=", "").replace(",", "")
        return once(place, lambda outputs: self._whole(variant, lines, outputs))

    def _whole(self, variant: str, lines: Sequence[str], outputs: Path) -> None:
        if variant != "grpo":  # the base is the same
            self.copy_base(outputs)
        ended = launch(command(variant, outputs, *lines))
        assert ended.code == 0, f"{variant}: {ended.text[-2000:]}"
        for run in runs_of(outputs):
            _check_moved(run, outputs)

    def copy_base(self, outputs: Path) -> None:
        """Copy the base that all variants share, without evaluations, which are each variant's own."""
        bases = self.reference("grpo") / "bases"
        shutil.copytree(bases, outputs / "bases", ignore=shutil.ignore_patterns("eval"))

    def interrupted(self, variant: str) -> Path:
        """Outputs of a run that was killed after its second step, made once."""

        def cut(outputs: Path) -> None:
            for _ in range(10):  # on a busy machine the run may end before the kill
                shutil.rmtree(outputs, ignore_errors=True)
                self.copy_base(outputs)
                launch(command(variant, outputs), lambda pid: _kill_after(pid, outputs, steps=2))
                if list(outputs.glob("s/*/resume/step_*")):
                    return
            raise AssertionError("no resume point")

        return once(self.folder / "interrupted" / variant, cut)

    def fresh(self, seed: int, source: Path | None = None) -> Path:
        """A new outputs folder, with a copy of another or with the base alone."""
        outputs = self.folder / "struck" / str(seed)
        shutil.rmtree(outputs, ignore_errors=True)
        if source is None:
            self.copy_base(outputs)
        else:
            shutil.copytree(source, outputs)
        return outputs


def once(place: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder under another name and put it in place; processes that race make it twice at worst."""
    if not place.exists():
        part = place.with_name(f"{place.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        if place.exists():
            shutil.rmtree(part)
        else:
            part.rename(place)
    return place


def command(variant: str, outputs: Path, *lines: str) -> list[str]:
    """Arguments of `python -m harness`."""
    k = () if any(line.startswith("eval.k=") for line in lines) else ("eval.k=2",)
    several = ("-m",) if "seed=0,1" in lines else ()
    return [*several, *COMMON, *k, *VARIANTS[variant], f"output_dir={outputs}", *lines]


def launch(
    arguments: Sequence[str], during: Callable[[int], Any] | None = None, limit: float = LIMIT
) -> Ended:
    """Run `python -m harness` in a fork of this process, after the imports; `during` gets its pid."""
    return _forked(lambda: _main("harness.launch.run", arguments), during, limit)


def table(study: Path) -> Ended:
    """Run `python -m analysis table` likewise."""
    return _forked(lambda: _main("analysis.__main__", ["table", str(study)]), None, LIMIT)


def _main(module: str, arguments: Sequence[str]) -> int:
    from importlib import import_module

    return int(import_module(module).main(list(arguments)))


def _forked(call: Callable[[], int], during: Callable[[int], Any] | None, limit: float) -> Ended:
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"campaign-{os.getpid()}.txt"
    log.write_bytes(b"")
    began, pid = time.monotonic(), os.fork()
    if pid == 0:
        _child(call, log)
    if during is not None:
        during(pid)
    hung = False
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() - began > limit:
            hung = True
            _signal_group(pid, signal.SIGKILL)
        time.sleep(0.02)
    _signal_group(pid, signal.SIGKILL)  # what it left behind
    text = log.read_text(errors="replace")
    log.unlink()
    return Ended(os.waitstatus_to_exitcode(found[1]), text, hung)


def _child(call: Callable[[], int], log: Path) -> None:
    code = 70
    try:
        os.setsid()
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import torch

        torch.set_num_threads(1)
        code = call()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _kill_after(pid: int, outputs: Path, *, steps: int) -> None:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and not list(outputs.glob(f"s/*/resume/step_{steps:06d}")):
        time.sleep(0.005)
    _signal_group(pid, signal.SIGKILL)


def runs_of(outputs: Path) -> list[Path]:
    return sorted(path.parent for path in outputs.glob("s/*/run.json"))


def _check_moved(run: Path, outputs: Path) -> None:
    """Equal weights prove nothing where training moves none."""
    trained = next(iter(sorted(run.glob("checkpoints/*/model.safetensors")))).read_bytes()
    assert all(trained != base.read_bytes() for base in outputs.glob("bases/*/model/*.safetensors")), run


def evidence(outputs: Path) -> dict[str, Any]:
    """Everything that a reader uses, by path and to the bit, but for clocks and memory."""
    found: dict[str, Any] = {}
    patterns = (
        "s/*/checkpoints/**/*",
        "bases/*/model/*",
        "*/*/eval/*/*",
        "s/*/rollouts/*",
        "s/*/metrics.jsonl",
    )
    for path in sorted({p for pattern in patterns for p in outputs.glob(pattern) if p.is_file()}):
        name = path.relative_to(outputs).as_posix()
        try:
            found[name] = _content(path)
        except (ValueError, AttributeError, OSError, EOFError, zlib.error) as error:
            found[name] = f"unreadable: {type(error).__name__}"
    return found


def _content(path: Path) -> Any:
    if path.name == "metrics.jsonl":
        return [reproducible(json.loads(line)) for line in path.read_text().splitlines()]
    if path.name.endswith(".jsonl.gz"):
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".json" and path.parent.parent.name == "eval":
        record = json.loads(path.read_text())
        clocks = ("seconds", "checksum")  # a checksum covers the seconds, too
        return {k: x for k, x in record.items() if k not in clocks} if isinstance(record, dict) else record
    return None if path.name in (".done", ".lock") else path.read_bytes()


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Paths of what is missing, new or different."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def until_done(arguments: Sequence[str], tries: int = 3) -> Ended:
    """Launch until it succeeds; the last try's end."""
    for _ in range(tries):
        ended = launch(arguments)
        if ended.code == 0 or ended.hung:
            break
    return ended


def compared(ended: Ended, outputs: Path, reference: Path) -> tuple[str, str]:
    """(outcome, detail) of a fault whose remedy is to launch again."""
    if ended.hung:
        return "hang", last_line(ended)
    if ended.code != 0:
        return ("traceback" if ended.traceback else "lost"), last_line(ended)
    if leftovers := [p.name for p in outputs.rglob(".*.tmp")]:
        return "lost", f"left behind: {leftovers[:3]}"
    if different := differences(evidence(outputs), evidence(reference)):
        return "wrong number", ", ".join(different[:4])
    return "identical", ""


def last_line(ended: Ended) -> str:
    lines = [line for line in ended.text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {ended.code}, nothing printed"


def pick(dice: random.Random, names: Sequence[str]) -> str:
    return names[dice.randrange(len(names))]
