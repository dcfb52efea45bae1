"""Strike tiny runs with faults until the time is up: `python -m tests.campaign --minutes 10`.

Each fault has a seed. The run is launched again until it is done and compared to the bit with one that was
left alone. Prints a Markdown table; exits with 1 when something did not survive.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from harness.launch import workers
from harness.records.code_state import code_state
from tests.campaign import damage, disks, strikes
from tests.campaign.runs import Verdict, Work

KINDS: dict[str, Callable[[Work, int], Verdict]] = {
    "kill": strikes.kill,
    "signal": strikes.ask,
    "stop": strikes.stop,
    "sweep": strikes.sweep,
    "damage": damage.damage,
    "full": disks.full,
    "power": disks.power,
}
# What a launch imports on its way; children are forked, so it is paid once.
PRELOAD = (*workers.PRELOAD, "harness.launch.run", "harness.launch.pilot", "analysis.report.build", "pandas")
TURNS = ("kill", "damage", "signal", "damage", "full", "kill", "damage", "stop", "sweep", "damage", "power")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 when everything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first fault; the others follow")
    parser.add_argument("--jobs", type=int, default=2, help="faults at once")
    parser.add_argument("--only", choices=KINDS, help="one kind of fault")
    parser.add_argument("--count", type=int, help="so many faults, however long they take")
    parser.add_argument("--out", type=Path, help="write the counts, and what was not survived, as JSON")
    arguments = parser.parse_args(argv)
    skipped = why_skipped()
    turns = [kind for kind in ((arguments.only,) if arguments.only else TURNS) if kind not in skipped]
    for kind, why in skipped.items():
        print(f"skipped: {kind}: {why}", file=sys.stderr)
    if not turns:
        return 0
    began = time.monotonic()
    verdicts = strike(turns, arguments)
    print(markdown(verdicts))
    faults, minutes = sum(v.faults for v in verdicts), (time.monotonic() - began) / 60
    print(f"{faults} faults in {minutes:.1f} minutes, seeds from {arguments.seed}")
    if arguments.out:
        arguments.out.write_text(json.dumps(written(verdicts, skipped, arguments, minutes), indent=1) + "\n")
    return int(not all(verdict.survived for verdict in verdicts))


def why_skipped() -> dict[str, str]:
    """Kinds that this machine cannot do, and why."""
    found = {"full": disks.why_no_mounts(), "power": disks.why_no_loops()}
    return {kind: why for kind, why in found.items() if why}


def strike(turns: Sequence[str], arguments: argparse.Namespace) -> list[Verdict]:
    """Verdicts of faults, kind after kind, from `jobs` processes forked after the imports."""
    for name in PRELOAD:
        import_module(name)

    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    work, verdicts, waiting = Work(folder), [], set[Future[Verdict]]()
    end, seed = time.monotonic() + 60 * arguments.minutes, arguments.seed
    work.reference("grpo")  # its base is everyone's
    try:
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("fork")) as pool:
            while waiting or _more(seed - arguments.seed, end, arguments.count):
                while len(waiting) < arguments.jobs and _more(seed - arguments.seed, end, arguments.count):
                    kind = turns[(seed - arguments.seed) % len(turns)]
                    waiting.add(pool.submit(struck, kind, work, seed))
                    seed += 1
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    verdicts.append(future.result())
                    _say(verdicts[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return verdicts


def _more(done: int, end: float, count: int | None) -> bool:
    return done < count if count is not None else time.monotonic() < end


def struck(kind: str, work: Work, seed: int) -> Verdict:
    """Strike once; the struck folder is removed afterwards."""
    began = time.monotonic()
    try:
        verdict = KINDS[kind](work, seed)
    except Exception as error:
        verdict = Verdict(kind, seed, "the campaign itself failed", "not judged", f"{error!r}"[-2000:])
    verdict.seconds = round(time.monotonic() - began, 1)
    shutil.rmtree(work.folder / "struck" / str(seed), ignore_errors=True)
    return verdict


def _say(verdict: Verdict) -> None:
    mark = "" if verdict.survived else "NOT SURVIVED: "
    text = f"{mark}{verdict.kind} --seed {verdict.seed}: {verdict.what}: {verdict.outcome} {verdict.detail}"
    print(text.rstrip(), file=sys.stderr, flush=True)


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Rows of kinds: faults tried, survived (and how), not survived (and how)."""
    lines = ["| kind | faults | rounds | survived | not survived |", "|---|---|---|---|---|"]
    for kind in [kind for kind in KINDS if any(v.kind == kind for v in verdicts)]:
        rows = [v for v in verdicts if v.kind == kind]
        good, bad = ([v for v in rows if v.survived is wanted] for wanted in (True, False))
        lines.append(
            f"| {kind} | {sum(v.faults for v in rows)} | {len(rows)} | {_counted(good)} | {_counted(bad)} |"
        )
    return "\n".join(lines)


def _counted(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in verdicts)
    return f"{len(verdicts)}" + (f" ({', '.join(f'{n} {o}' for o, n in counts.items())})" if counts else "")


def written(
    verdicts: Sequence[Verdict], skipped: dict[str, str], arguments: argparse.Namespace, minutes: float
) -> dict[str, object]:
    """The campaign as JSON: counts by kind, and every round that was not survived. A seed repeats a round."""
    kinds = {}
    for kind in [kind for kind in KINDS if any(v.kind == kind for v in verdicts)]:
        rows = [v for v in verdicts if v.kind == kind]
        outcomes = Counter(v.outcome for v in rows)
        kinds[kind] = {"faults": sum(v.faults for v in rows), "rounds": len(rows), "outcomes": outcomes}
    lost = [asdict(v) for v in sorted(verdicts, key=lambda v: v.seed) if not v.survived]
    return {
        "command": f"python -m tests.campaign --minutes {arguments.minutes:g} --seed {arguments.seed}",
        "commit": code_state()["commit"],
        "minutes": round(minutes, 1),
        "only": arguments.only,
        "skipped": skipped,
        "faults": sum(verdict.faults for verdict in verdicts),
        "kinds": kinds,
        "not_survived": lost,
    }


if __name__ == "__main__":
    sys.exit(main())
