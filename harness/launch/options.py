"""The options of `python -m harness`, and what to type in the place of those that it does not have."""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path
from typing import NoReturn

SWEEP = "WANDB_SWEEP_ID"  # set by W&B's sweep agent, which writes settings as --trainer.lr=0.1
ROOT = Path(__file__).resolve().parents[2]

# Options of Hydra's own command line, and what there is here.
HYDRA = {
    "--cfg": "--config prints the resolved settings",
    "-c": "--config prints the resolved settings",
    "--resolve": "--config prints the resolved settings",
    "--package": "--config prints the resolved settings",
    "--info": "--config prints the resolved settings, --plan what would run",
    "--hydra-help": "--help lists the settings",
    "--config-path": "--config-dir DIR adds groups of your own",
    "-cp": "--config-dir DIR adds groups of your own",
    "-cd": "--config-dir DIR adds groups of your own",
    "--config-name": "an overlay is experiment=NAME, in --config-dir DIR too",
    "-cn": "an overlay is experiment=NAME, in --config-dir DIR too",
    "--run": "leave it out: a command without -m is one run",
    "--shell-completion": "there is none",
    "-sc": "there is none",
}

# Commands besides a launch: what runs one (module:function), and what --help says of it.
COMMANDS = {
    "export": ("harness.launch.export:main", "write a run's model in the hub's layout, with a model card"),
    "clean": ("harness.launch.clean:main", "remove the failed runs of a study, once it was asked"),
    "attach": ("harness.launch.attach:main", "follow a study's jobs on a Slurm cluster"),
    "init": ("harness.launch.init:main", "write a commented ablation of your own to begin from"),
}

EXAMPLES = """examples:
  python -m harness objective=grpo model=ladder_xs seed=1
  python -m harness -m objective=sft_rejection,grpo model=ladder_xs,ladder_s seed=0,1,2 study=first
  python -m harness ablation=quickstart --plan
  python -m harness objective=grpo trainer.lr=1e-4 --config
  python -m harness model=smollm2_135m_instruct data=math data.levels=[4,5] data.num_train=512
  python -m harness model=smollm2_135m_instruct data=mixture 'data.components={gsm8k: 0.3, math: 0.7}'
  python -m harness export RUN FOLDER
  python -m harness init ablation mine
  python -m analysis report outputs/first

published problems are read from the folder MATH_DATA_DIR, or from the hub where it is not set;
python -m harness.data.contamination --help scans training sets for evaluation problems

exit codes: 0 finished or skipped, 1 a run failed, 2 bad input, 3 another process holds a run, 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ValueErrors: main() turns each into one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parser(config_dir: str | None = None) -> argparse.ArgumentParser:
    """The command line's options; its help lists the options of `config_dir` too."""
    made = Parser(
        prog="python -m harness",
        description="One run, or every run of an ablation: base model -> train -> evaluate -> record.",
        epilog="\n\n".join([_commands(), _groups(config_dir), EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("-m", "--multirun", action="store_true", help="a sweep: every combination of a,b,c")
    made.add_argument(
        "--plan", action="store_true", help="say what would run and what it can find; start nothing"
    )
    made.add_argument(
        "--assume",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="with --plan: simulate the study on a cluster (workers, queue, failures, preemptions, ...)",
    )
    made.add_argument("--config", action="store_true", help="print the resolved config and the run's name")
    made.add_argument("--config-dir", metavar="DIR", help="a folder with groups of your own beside conf/")
    made.add_argument("--max-runs", type=int, metavar="N", help="most runs that a sweep may have (10000)")
    made.add_argument("--version", action="store_true", help="print the version")
    return made


def _commands() -> str:
    lines = [f"  {name:<11} {said}" for name, (_, said) in COMMANDS.items()]
    return "\n".join(["commands (python -m harness COMMAND --help):", *lines])


def _groups(config_dir: str | None) -> str:
    """`group=option` for everything in conf/ and the user's folder, read from the names of files."""
    lines = ["settings (group=option, or any field: trainer.steps=10):"]
    roots = [ROOT / "conf", *([Path(config_dir)] if config_dir else [])]
    for group in sorted(p.name for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name != "hydra"):
        options = " | ".join(sorted({p.stem for root in roots for p in (root / group).glob("*.yaml")}))
        lines.append(f"  {group:<11} {options}")
    lines.append("  hydra/launcher  process | slurm | ray")
    return "\n".join(lines)


def _config_dir(arguments: list[str]) -> str | None:
    """What --config-dir says, for the help: argparse prints that before it has read the rest."""
    for place, word in enumerate(arguments):
        if word.startswith("--config-dir="):
            return word.partition("=")[2]
        if word == "--config-dir":
            return next(iter(arguments[place + 1 :]), None)
    return None


def parse_arguments(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options, and the Hydra overrides that are left. Raises ValueError for an option that does not exist."""
    options, overrides = parser(_config_dir(arguments)).parse_known_args(arguments)
    if os.environ.get(SWEEP):
        overrides = [
            word.lstrip("-") if word.startswith("--") and "=" in word else word for word in overrides
        ]
    known = [
        "--help",
        "--multirun",
        "--plan",
        "--assume",
        "--config",
        "--config-dir",
        "--max-runs",
        "--version",
    ]
    for word in overrides:
        if word.startswith("-"):
            if "." in word and "=" in word:
                raise ValueError(f"{word}: a setting has no dashes: {word.lstrip('-')}")
            if instead := HYDRA.get(word.partition("=")[0]):
                raise ValueError(f"{word}: no such option; {instead}")
            near = difflib.get_close_matches(word.split("=")[0], known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{word}: no such option; {hint}")
    return options, overrides
