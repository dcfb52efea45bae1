"""The wheel, installed away from the checkout and run where other packages have our names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("hatchling")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    environment |= {"OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=250
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that holds the wheel and borrows this one's dependencies."""
    folder = tmp_path_factory.mktemp("a wheel")
    built = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ROOT,
        cwd=folder,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for kept in (
        "conf/config.yaml",
        "conf/hydra/launcher/process.yaml",
        "tasks/_sampled.yaml",
        "harness/launch/run.py",
    ):
        assert kept in names
    assert not any(name.startswith(("tests/", "outputs/")) for name in names)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    )
    target = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel, cwd=folder)
    assert target.returncode == 0, target.stderr
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv" / "bin"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of somebody else's, with packages and configs named as ours."""
    for name in ("analysis", "harness", "tasks", "conf"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    (tmp_path / "conf" / "config.yaml").write_text("wrong: true\n")
    return tmp_path


def test_the_commands_work_in_a_foreign_folder(installed: Path, foreign: Path) -> None:
    planned = run(installed / "r1-run", "--plan", "ablation=quickstart", cwd=foreign)
    assert planned.returncode == 0, planned.stderr
    assert "2 arms × 4 seeds, 8 runs" in planned.stdout


@pytest.mark.skipif(not (ROOT / "analysis" / "__main__.py").exists(), reason="analysis has no command yet")
def test_the_report_works_in_a_foreign_folder(installed: Path, foreign: Path) -> None:
    report = run(installed / "r1-report", "--help", cwd=foreign)
    assert report.returncode == 0, report.stderr


def test_a_sweep_runs_its_own_code_in_a_foreign_folder(installed: Path, foreign: Path) -> None:
    """Children start in the current folder too: they must not pick up the packages that lie there."""
    small = ["trainer.steps=1", "model.pretrain.steps=2", "eval.splits=[test]", "seed=0"]
    done = run(installed / "r1-run", "-m", "experiment=smoke", *small, cwd=foreign)
    assert done.returncode == 0, done.stderr
    assert "1 finished" in done.stderr
    assert len(list((foreign / "outputs" / "smoke").glob("*/run.json"))) == 1
