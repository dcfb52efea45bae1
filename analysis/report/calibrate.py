"""The command `r1-report calibrate`: do the intervals hold?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis.report.commands import load, say


def calibrate(arguments: argparse.Namespace) -> int:
    """Calibrate by an A/A study, or the whole pipeline by simulation; exit code 1 outside the bounds."""
    if arguments.studies is not None and arguments.studies < 1:
        raise ValueError(f"--studies {arguments.studies}: need at least 1")
    if arguments.pipeline == (arguments.study is not None):
        raise ValueError("give STUDY_FOLDER, an A/A study, or --pipeline, which needs none")
    return _calibrate_pipeline(arguments) if arguments.pipeline else _calibrate_study(arguments)


def _calibrate_pipeline(arguments: argparse.Namespace) -> int:
    """Write pipeline.json and pipeline.md."""
    from analysis.calibration.pipeline import FILE, measure, outside, text
    from harness.records.code_state import code_state
    from harness.records.records import write_json, write_text

    path = arguments.out or Path("outputs/reference/calibration") / FILE
    code = code_state()
    found = measure(studies=arguments.studies or 4000, seed=arguments.seed, progress=say)
    found |= {name: code[name] for name in ("commit", "dirty")}
    write_json(path, found)
    write_text(path.with_suffix(".md"), text(found))
    say("")
    bad = outside(found)
    for line in bad:
        print(f"outside its bounds: {line}", file=sys.stderr)
    print(f"written: {path} and {path.with_suffix('.md').name}, {len(found['rows'])} rows")
    return int(bool(bad))


def _calibrate_study(arguments: argparse.Namespace) -> int:
    """Write calibration.json."""
    from analysis.calibration.aa import aa_variances, calibrate, check_alike, outside
    from analysis.calibration.rejections import rejections
    from harness.records.records import write_json

    study = load(arguments.study)
    check_alike(study)
    variances = aa_variances(study)
    found = calibrate(variances, studies=arguments.studies or 10_000, seed=arguments.seed, progress=say)
    found["rejections"] = rejections(study)
    path = arguments.out or arguments.study / "calibration.json"
    write_json(path, found)
    for row in found["rows"]:
        power = f", power {row['power']:.3f} (0.8 planned)" if "power" in row else ""
        print(
            f"{row['seeds']:>2} seeds, {row['scenario']}: coverage {row['coverage']:.3f}, "
            f"family-wise error {row['fwer']:.3f}{power}"
        )
    for row in found["rejections"]:
        print(
            f"real runs, {row['what']}, {row['seeds']} seeds: {row['rejected']:.3f} of {row['tests']:,} "
            f"tests reject; a sound test stays below {row['sound']:.3f} in 95 of 100 studies"
        )
    bad = outside(found)
    for line in bad:
        print(f"outside its bounds: {line}", file=sys.stderr)
    print(f"written: {path}")
    return int(bool(bad))
