"""The run folder: where a run is, what it leaves, how it goes on after a kill.

The checkpoint is the truth; the CSV files are views of the rows in it, written anew (atomically)
with each, so a kill at any moment leaves them whole and nothing is counted twice.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from experiment import finished_runs, identity, result_tables
from experiment.checkpoint import (
    DEFAULT_CHECKPOINT_EPOCHS,
    MAX_SAVING_TIME_SHARE,
    Checkpoints,
)
from experiment.environment import (
    describe_environment,
    environment_changes,
    peak_memory_mib,
    read_environments,
)
from experiment.tensorboard import TensorBoardWriter
from utils.console import StageProgress, log, open_log, to_one_line
from utils.errors import UserError
from utils.files import (
    json_bytes,
    make_folder,
    os_errors_refused,
    remove_empty_folders,
    remove_leftovers,
    render_csv,
    write_atomically,
)
from utils.lease import LEASE_FOLDER, Lease
from utils.options.converters import non_empty_text, non_negative_integer
from utils.options.option import Condition, OptionGroup, OptionValues, option


@dataclass(frozen=True)
class RunFolderOptions(OptionGroup):
    """Where a run keeps its files, and how it resumes."""

    section = "run"
    out: str = option(
        "runs",
        "Folder for run folders and pre-trained weights.",
        type=non_empty_text,
        metavar="FOLDER",
        identity=False,
        read_if=Condition(
            lambda options: options.run_dir is None or options.add_unsupervised_pretraining,
            "no --run-dir",
        ),
    )
    run_dir: str | None = option(
        None,
        "Use exactly this run folder (default: one below --out).",
        type=non_empty_text,
        metavar="FOLDER",
        identity=False,
    )
    exp_name: str | None = option(
        None,
        "Name to put before the identity in the path of the run folder.",
        type=non_empty_text,
        metavar="NAME",
        identity=False,
        read_if=Condition(lambda options: options.run_dir is None, "no --run-dir"),
    )
    resume: bool = option(
        True,
        "Resume from the last checkpoint. False: move earlier files aside and start again.",
        identity=False,
    )
    checkpoint_epochs: int | None = option(
        None,
        "Number of epochs between checkpoints; 0: only between cycles.",
        type=non_negative_integer,
        metavar="N",
        default_text=(
            f"{DEFAULT_CHECKPOINT_EPOCHS}, or more where saving would take over "
            f"{MAX_SAVING_TIME_SHARE:.0%} of the time"
        ),
        identity=False,
    )
    tensorboard: bool = option(
        False, "Also write the results of every cycle for TensorBoard.", identity=False
    )

    def check(self, options: OptionValues) -> None:
        if self.exp_name is not None and set(self.exp_name) & set("/\\\0"):
            raise UserError(f"--exp-name {self.exp_name!r} must be a name without slashes")


class RunFolder:
    """An open run folder, held by a lease against a second process; to be used in a `with`.

    rows: {"results", "acquired", "timing"} -> list of dicts, the contents of the CSV files; state:
    what the last checkpoint holds, None where there is none.  A signal that stops the run within
    the `with` saves what was kept last; an error before `start` leaves no new folder behind."""

    def __init__(
        self,
        path: Path,
        config: dict,
        *,
        device,
        resume: bool,
        eval_prefixes=("",),
        tensorboard=False,
    ):
        """config: every option, and the identity; judges: prefixes of the accuracy columns;
        scalars: write them for TensorBoard too.

        Raises UserError where the folder cannot be written, is in use by another process or
        holds another identity."""
        self.path, self.config, self.eval_prefixes = path, config, eval_prefixes
        self.device, self.current_stage = torch.device(device), None
        self.table_rows = {"results": [], "acquired": [], "timing": []}
        self.checkpoints = Checkpoints(path / "checkpoint.pt", self._update_tables)
        self.lease, self.is_started, self.last_written_texts = None, False, None
        self.tensorboard = TensorBoardWriter(path) if tensorboard else None
        if resume:
            self._check_same_identity()
        with os_errors_refused(path):
            self.created_folders = make_folder(path)
        try:
            self.lease = Lease(path, "run folder")
            if not resume:
                self._move_old_files_aside()
            self.last_checkpoint = self._load_last_checkpoint()
            remove_leftovers(path)
        except BaseException:
            self._close_folder()
            raise
        if self.last_checkpoint:
            self.table_rows = self.last_checkpoint["rows"]

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *error) -> None:
        if self.is_started and error[1]:
            with suppress(UserError):  # the disk may be what is full
                log.debug("stopped: %s", to_one_line(str(error[1]) or type(error[1]).__name__))
        try:
            self.checkpoints.__exit__(*error)
        finally:
            self._close_folder()

    def _close_folder(self) -> None:
        """Give the folder back; leave nothing of one that was made for nothing."""
        if self.tensorboard:
            self.tensorboard.close()
        for_nothing = self.created_folders and not self.is_started
        if self.lease:
            self.lease.discard() if for_nothing else self.lease.release()
        if for_nothing:
            remove_empty_folders(self.created_folders)

    def record_start(
        self, warnings: Iterable[str] = (), export_files: dict[str, str] | None = None
    ) -> None:
        """Write what the run is, note the environment, bring the CSV files to the state of the
        checkpoint.  notices: lines of warning for the log; texts: further files, by name."""
        self.is_started = True
        open_log(self.path / "log.txt")
        for notice in warnings:
            log.warning(notice)
        self._write_config()
        for name, text in (export_files or {}).items():
            write_atomically(self.path / name, text.encode())
        self._record_environment()
        self.write_tables()

    def _record_environment(self) -> None:
        """An entry of environment.json for this start; a warning where it is another machine's."""
        path, now = self.path / "environment.json", describe_environment(self.device)
        starts = read_environments(path)
        if self.last_checkpoint and starts and (words := environment_changes(starts[-1], now)):
            log.warning("going on with %s: the last digits may differ from here on", words)
        write_atomically(path, json_bytes({"starts": [*starts, now]}))

    def save_checkpoint(self, state: dict) -> None:
        """Write the CSV files and then the checkpoint: plain types and tensors only."""
        self.checkpoints.save_next(self._checkpoint_dict(state))

    def take_snapshot(self, state: Callable[[], dict], force: bool = False) -> None:
        """Remember what `state`() would save, for a signal: now, or where it is time to."""
        self.checkpoints.take_snapshot(lambda: self._checkpoint_dict(state()), force)

    def _checkpoint_dict(self, state: dict) -> dict:
        self._add_stage_time()
        return {**state, "identity": self.config["identity"], "rows": self.table_rows}

    def _update_tables(self, whole: dict) -> None:
        """What a checkpoint's rows look like as tables."""
        self.table_rows = whole["rows"]
        self.write_tables()

    def record_finish(self, file_stats: dict, cycles: int, message: str) -> None:
        """Note that this many cycles are done, on these data, for who asks for the same again; and
        report.  sources: sizes and times of the files that were read (fingerprints.stamps)."""
        self.last_written_texts = None  # somebody may have edited them meanwhile
        self.write_tables()
        self.config["sources"] = file_stats
        self.config["finished"] = {
            "cycles": cycles,
            "files": finished_runs.content_digests(self.path),
        }
        self._write_config()
        if self.is_started:
            log.debug("%s", message)
        finished_runs.print_results(self.path, message)

    @contextmanager
    def time_stage(self, cycle, stage: str):
        """Add the seconds of a stage to its row of timing.csv, and the process's peak so far."""
        self.current_stage = (cycle, stage, time.perf_counter())
        where = stage if isinstance(cycle, str) else f"cycle {cycle + 1}: {stage}"
        with StageProgress(where):
            yield
        self._add_stage_time()
        self.current_stage = None

    def _add_stage_time(self) -> None:
        """Book the open stage up to now, so that a checkpoint within it keeps its seconds."""
        if self.current_stage is None:
            return
        cycle, stage, begin = self.current_stage
        now, peak = time.perf_counter(), peak_memory_mib(self.device)
        self.current_stage = (cycle, stage, now)
        for row in self.table_rows["timing"]:
            if (row["cycle"], row["stage"]) == (cycle, stage):
                row["seconds"] = round(row["seconds"] + now - begin, 3)
                row["peak_so_far_mib"] = max(row["peak_so_far_mib"], peak)
                return
        values = (cycle, stage, round(now - begin, 3), peak)
        self.table_rows["timing"].append(
            dict(zip(result_tables.TIMING_COLUMNS, values, strict=True))
        )

    def write_tables(self) -> None:
        """The CSV files, from the rows: what every save begins with.

        Raises UserError where another process has taken the folder over."""
        self.lease.require_held()
        headers = {
            "results": result_tables.results_header(self.eval_prefixes),
            "acquired": result_tables.ACQUIRED_COLUMNS,
            "timing": result_tables.TIMING_COLUMNS,
        }
        texts = {
            name: render_csv(header, self.table_rows[name]) for name, header in headers.items()
        }
        told = texts["results"], texts["acquired"]
        if (
            told != self.last_written_texts
        ):  # within a cycle only the timing moves: later is soon enough
            for name, text in texts.items():
                write_atomically(self.path / f"{name}.csv", text.encode())
            self.last_written_texts = told
            if self.tensorboard:
                self.tensorboard.write_new_rows(self.table_rows)

    def _write_config(self) -> None:
        write_atomically(self.path / "config.json", json_bytes(self.config))

    def _check_same_identity(self) -> None:
        before = finished_runs.read_run_config(self.path)
        if before is None:
            return
        who = self.config["identity"]
        cure = "name another --run-dir"
        identity.check_same_identity(before.get("identity"), who, f"run folder {self.path}", cure)

    def _load_last_checkpoint(self) -> dict | None:
        state = self.checkpoints.load_latest()
        if state:
            cure, mine = "delete it, and the run starts again", self.config["identity"]
            where = str(self.checkpoints.path)
            identity.check_same_identity(state.get("identity"), mine, where, cure)
        return state

    def _move_old_files_aside(self) -> None:
        """--resume False: an earlier run's files move to a folder beside it, none is lost."""
        old = [path for path in self.path.iterdir() if path.name != LEASE_FOLDER]
        if not old:
            return
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        aside.mkdir()
        for path in old:
            path.rename(aside / path.name)
