"""`python -m harness init ablation NAME`: write a commented ablation that composes, to begin from."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.launch.options import ROOT, Parser
from harness.schema.presets import CONF

TEMPLATE = Path(__file__).with_name("ablation_template.yaml")


def main(arguments: Sequence[str]) -> int:
    """Write the file, which must not exist, and say how to run it. Raises ValueError, OSError."""
    given = _parser().parse_args(arguments)
    name, folder = given.name, Path(given.config_dir)
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        raise ValueError(f"init ablation {name}: use letters, digits, _ and -")
    if (CONF / "ablation" / f"{name}.yaml").exists():
        raise ValueError(f"init ablation {name}: there is an ablation of this name; choose another")
    path = folder / "ablation" / f"{name}.yaml"
    own = folder.resolve() != CONF
    flags = [f"--config-dir={given.config_dir}"] if own else []
    command = shlex.join(["python", "-m", "harness", *flags, f"ablation={name}"])
    if path.exists():
        raise ValueError(f"init ablation {name}: {path} is there already; choose another name")
    text = TEMPLATE.read_text(encoding="utf-8").replace("COMMAND", command).replace("NAME", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}; edit it, then: {command} --plan")
    return 0


def _parser() -> argparse.ArgumentParser:
    made = Parser(
        prog="python -m harness init",
        description="Write a commented ablation to begin from.",
        allow_abbrev=False,
    )
    made.add_argument("what", choices=["ablation"])
    made.add_argument("name", metavar="NAME", help="of the file and of its study")
    default = "conf" if not (ROOT / ".git").exists() or Path.cwd() != ROOT else str(CONF)
    made.add_argument(
        "--config-dir", metavar="DIR", default=default, help=f"folder with groups of your own ({default})"
    )
    return made
