"""W&B beside the files: group = study, tags = factors, resolved config, a step axis, evaluations as a table
and an artifact. It never stops a run."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from harness.identity import digest
from harness.launch.bookkeeping import final_numbers
from harness.launch.status import evaluation_folders, lm_eval_records, sampling_folders, search_records
from harness.launch.tensorboard import Board
from harness.records.declarations import FILE as DECLARATION
from harness.records.lines import read_completions
from harness.records.lm_eval import lm_eval_paths
from harness.records.looks import FILE as LOOKS
from harness.records.records import BASES, RunRecord, eval_paths, read_eval, samples_of
from harness.records.search import search_paths
from harness.records.sections import EVALUATIONS, STEP, sectioned
from harness.schema.config_text import config_text
from harness.schema.corpus_config import corpus_name
from harness.schema.run_config import RunConfig

TAG_LENGTH = 64  # W&B refuses longer ones
NO_FACTORS = ("--config-dir", "study=", "output_dir=", "tracking", "hydra", "device=", "eval")
Mode = Literal["online", "offline", "disabled"]
KEPT = "outputs/ has everything"
OFFLINE = "recording offline: `wandb sync` sends it later"


def wandb_id(config: RunConfig, run_id: str) -> str:
    """Name of a run at W&B, where one project holds every study: the same run of two studies is two there."""
    return f"{run_id}-{digest(config.study)}"


def factor_tags(config: RunConfig, overrides: Sequence[str]) -> list[str]:
    """Tags that tell a run apart in its study: its usual names, its overrides, and those of WANDB_TAGS."""
    corpus = f"corpus={corpus_name(config.corpus)}"
    usual = [config.objective.name, config.model.name, f"seed={config.seed}", corpus]
    factors = [line.lstrip("+~") for line in overrides if not line.lstrip("+~").startswith(NO_FACTORS)]
    asked = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
    return list(dict.fromkeys(tag[:TAG_LENGTH] for tag in [*usual, *factors, *asked]))


def _samples(config: RunConfig, folder: Path, step: int) -> list[Path]:
    """Files of completions of a checkpoint's evaluations, by the main protocol."""
    places = evaluation_folders(config, folder, step)
    return [samples_of(path) for place in places for path in sorted(place.glob("*.json"))]


class Tracker:
    """Mirrors metrics to W&B, and to TensorBoard where it is asked for.

    Every failure costs one warning; outputs/ has the data in any case. An outage costs a run at most three
    times `tracking.timeout`: once at its start, twice at its end.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.run: Any = None
        self.board: Board | None = None
        self.failures = 0

    def start(self, record: RunRecord, folder: Path) -> str | None:
        """Begin the run, or go on with it; its id at W&B, None where it is not tracked."""
        if self.config.tracking.mode != "disabled":
            self._try(lambda: self._start(record, folder))
        if self.config.tracking.also:
            self._try(lambda: self._start_board(record, folder), "TensorBoard")
        return self.run.id if self.run is not None else record.wandb_id

    def _start(self, record: RunRecord, folder: Path) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        mode: Mode = self.config.tracking.mode
        if mode == "online" and not (os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False)):
            self._warn("tracking.mode=online, but no W&B key is set (`wandb login`); " + OFFLINE)
            mode = "offline"
        try:
            self.run = self._init(record, folder, mode)
        except Exception as error:
            if mode == "offline":
                raise
            self._failed(error, OFFLINE)
            wandb.teardown()  # its service still holds the id of the run that could not begin
            self.run = self._init(record, folder, "offline")
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def _start_board(self, record: RunRecord, folder: Path) -> None:
        self.board = Board(record, folder, config_text(self.config))

    def _init(self, record: RunRecord, folder: Path, mode: Mode) -> Any:
        import wandb

        ours, timeout = self.config.tracking, self.config.tracking.timeout
        return wandb.init(
            project=ours.project,
            entity=ours.entity,
            id=record.wandb_id or wandb_id(self.config, record.run_id),
            name=record.run_id,
            group=os.environ.get("WANDB_RUN_GROUP") or self.config.study,
            tags=factor_tags(self.config, record.overrides),
            config=self.config.model_dump(mode="json"),
            dir=ours.dir or folder,
            mode=mode,
            resume="allow" if mode == "online" and record.num_resumes > 0 else None,
            reinit="create_new",  # another run of this process, if W&B still holds one, is not waited for
            settings=wandb.Settings(
                console="off",
                disable_git=True,
                init_timeout=timeout,
                finish_timeout=timeout,
                finish_timeout_raises=True,
            ),
        )

    def log(self, metrics: dict[str, Any]) -> None:
        """Send a step's metrics, each in its section."""
        self._send(sectioned(metrics))

    def log_evaluations(self, folder: Path, step: int) -> None:
        """Send a checkpoint's evaluations as `eval/SPLIT/METRIC`; `folder` is the run's, or its base's."""
        if self.run is not None or self.board is not None:
            found = {f"{EVALUATIONS}/{k}": v for k, v in final_numbers(self.config, folder, step).items()}
            self._send({STEP: step, **found} if found else {})

    def _send(self, row: dict[str, Any]) -> None:
        run, board = self.run, self.board
        if row and run is not None:
            self._try(lambda: run.log(row))
        if row and board is not None:
            self._try(lambda: board.log(row), "TensorBoard")

    def finish(self, record: RunRecord, folder: Path) -> None:
        """Send how the run ended: its record as it is on disk, final numbers, evaluations. Then let go of it.

        Call it once the record is written: W&B may keep this waiting, and what it is sent is the end's.
        """
        self.log_evaluations(self._base(record), 0)
        self.log_evaluations(folder, record.steps_done)  # last: W&B's summary has a metric's last value
        if (board := self.board) is not None:
            self._try(board.close, "TensorBoard")
        if self.run is None:
            return
        thread = threading.Thread(target=self._finish, args=(record, folder), daemon=True)
        thread.start()
        thread.join(2 * self.config.tracking.timeout)
        if thread.is_alive():
            self._failed(TimeoutError("no answer at the end of the run"), KEPT)

    def _finish(self, record: RunRecord, folder: Path) -> None:
        self._try(lambda: self._table(record, folder))
        self._try(lambda: self._completions(folder, record.steps_done))
        self._try(lambda: self._files(record, folder))
        self._try(lambda: self._artifact(folder))
        self._try(lambda: self._let_go(record))

    def _let_go(self, record: RunRecord) -> None:
        run = self.run
        run.finish(exit_code=int(record.status != "finished"))
        log = Path(run.settings.log_internal)  # a refused upload is said here alone, when W&B is silent
        if log.exists() and "fatal error" in log.read_text(errors="replace"):
            raise ConnectionError("a part was not uploaded")

    def _base(self, record: RunRecord) -> Path:
        return Path(self.config.output_dir) / BASES / str(record.base_id)

    def _records(self, record: RunRecord, folder: Path) -> dict[str, Path]:
        """Evaluations of the run and, by the same protocols, of its base; by their names at W&B."""
        base = self._base(record)
        places = [f for of in (evaluation_folders, sampling_folders) for f in of(self.config, base, 0)]
        of_base = [path for place in places for path in sorted(place.glob("*.json"))]
        found = {path.relative_to(folder).as_posix(): path for path in eval_paths(folder)}
        return found | {f"{BASES}/{path.relative_to(base.parent).as_posix()}": path for path in of_base}

    def _apart(self, record: RunRecord, folder: Path) -> dict[str, Path]:
        """Records of lm-eval's tasks and of searches, of the run and its base, by their names at W&B."""
        base = self._base(record)
        own = [*lm_eval_paths(folder), *search_paths(folder)]
        found = {path.relative_to(folder).as_posix(): path for path in own}
        asked = [
            *lm_eval_records(self.config, base, 0).values(),
            *search_records(self.config, base, 0).values(),
        ]
        return found | {f"{BASES}/{path.relative_to(base.parent).as_posix()}": path for path in asked}

    def _table(self, record: RunRecord, folder: Path) -> None:
        """Log every evaluation as a row of a Table."""
        import wandb

        rows = [read_eval(path) for path in self._records(record, folder).values()]
        names = sorted({name for row in rows for name in row.metrics})
        about = ("task", "split", "step", "n_problems", "k", "temperature", "top_p")
        table = wandb.Table(
            columns=["problems" if name == "n_problems" else name for name in [*about, *names]],
            data=[[*(getattr(r, name) for name in about), *map(r.metrics.get, names)] for r in rows],
        )
        self.run.log({"evaluations": table})

    def _completions(self, folder: Path, step: int) -> None:
        """Log completions of the last checkpoint as a Table: the first sample of the first problems."""
        import wandb

        columns = ["task", "problem", "reference", "completion", "extracted", "correct"]
        rows: list[Iterable[Any]] = []
        for path in _samples(self.config, folder, step):
            firsts = (row for row in read_completions(path) if not row.get("sample_idx"))
            for row in islice(firsts, self.config.tracking.completions - len(rows)):
                task = path.name.partition(".")[0]
                rows.append([task, *(row.get(name) for name in columns[1:])])
        if rows:
            self.run.log({"completions": wandb.Table(columns=[*columns], data=[*rows])})

    def _files(self, record: RunRecord, folder: Path) -> None:
        """Send the records as files: `r1-report fetch` makes an outputs/ folder again from W&B alone."""
        base = Path(BASES) / str(record.base_id) / "base.json"
        files = {"run.json": folder / "run.json", "study.json": folder.parent / "study.json"}
        files |= {name: folder.parent / name for name in (DECLARATION, LOOKS)}
        files[base.as_posix()] = Path(self.config.output_dir) / base
        files |= self._apart(record, folder) | self._records(record, folder)
        for name, path in files.items():
            if path.exists():
                place = Path(self.run.dir) / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)  # a link would not outlive a move of the folder
                self.run.save(str(place), base_path=self.run.dir, policy="end")

    def _artifact(self, folder: Path) -> None:
        """Log the run's evaluations as one versioned Artifact."""
        import wandb

        artifact = wandb.Artifact(f"evaluations-{self.run.id}", type="evaluation")
        for path in eval_paths(folder):
            artifact.add_file(str(path), name=str(path.relative_to(folder)))
        self.run.log_artifact(artifact)

    def _try(self, action: Callable[[], Any], name: str = "W&B") -> None:
        try:
            action()
        except Exception as error:
            self._failed(error, KEPT, name)

    def _failed(self, error: Exception, rest: str, name: str = "W&B") -> None:
        self.failures += 1
        if self.failures == 1:
            self._warn(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}; {rest}")

    def _warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)
