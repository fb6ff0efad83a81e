"""The run folder: where a run keeps its files and how it resumes after a kill.

The checkpoint is authoritative. The CSV files are rendered from the rows in it and rewritten
atomically with every checkpoint, so that a kill at any moment leaves them complete and nothing is
counted twice.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from experiment import finished_runs, identity, result_tables
from experiment.checkpoint import Checkpoints
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

TABLES = ("results", "acquired", "timing")  # written also without rows


class RunFolder:
    """An open run folder, protected by a lease from other processes; to be used in a `with`.

    table_rows: {"results", "acquired", "timing"} -> rows of the CSV file of that name; also
    "estimates" and "second_looks", once there are any.
    last_checkpoint: the contents of the last checkpoint; None if there is none.

    A signal that stops the run within the `with` saves the last snapshot. An error before
    `record_start` leaves no new folder behind."""

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        *,
        device: torch.device | str,
        resume: bool,
        eval_prefixes: tuple[str, ...] = ("",),
        tensorboard: bool = False,
    ):
        """config: the values of all options, and the identity.
        resume: whether to continue what the folder holds; otherwise it is moved aside.
        eval_prefixes: prefixes of the accuracy columns, one per evaluation set.
        tensorboard: also write event files.

        Raises UserError if another process uses the folder or it holds another identity,
        SystemRefusal if it cannot be written."""
        self.path, self.config, self.eval_prefixes = path, config, eval_prefixes
        self.device = torch.device(device)
        self.current_stage: tuple[int | str, str, float] | None = None  # cycle, stage, start time
        self.table_rows: dict[str, list[dict[str, Any]]] = {
            "results": [],
            "acquired": [],
            "timing": [],
            "estimates": [],
        }
        self.checkpoints = Checkpoints(path / "checkpoint.pt", self._update_tables)
        self.is_started = False
        self.stop_reason: str | None = None  # of a run that ended early (experiment.stopping)
        self.last_written_texts: tuple[str, str] | None = None
        self.tensorboard = TensorBoardWriter(path) if tensorboard else None
        if resume:
            self._check_same_identity()
        with os_errors_refused(path):
            self.created_folders = make_folder(path)
        try:
            self.lease = Lease(path, "run folder")
        except BaseException:
            remove_empty_folders(self.created_folders)
            raise
        try:
            if not resume:
                self._move_old_files_aside()
            self.last_checkpoint = self._load_last_checkpoint()
            remove_leftovers(path)
        except BaseException:
            self._close()
            raise
        if self.last_checkpoint:
            rows = self.last_checkpoint["rows"]
            # An earlier version did not estimate the accuracy.
            columns = dict.fromkeys(result_tables.ESTIMATE_COLUMNS)
            results = [columns | row for row in rows["results"]]
            self.table_rows = {"estimates": [], **rows, "results": results}

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_started and error:
            with suppress(UserError):  # the log cannot be written to a full disk either
                log.debug("stopped: %s", to_one_line(str(error) or type(error).__name__))
        try:
            self.checkpoints.__exit__(kind, error, trace)
        finally:
            self._close()

    def _close(self) -> None:
        """Release the folder; remove it if it was created and nothing was started."""
        if self.tensorboard:
            self.tensorboard.close()
        if self.created_folders and not self.is_started:
            self.lease.discard()
            remove_empty_folders(self.created_folders)
        else:
            self.lease.release()

    def record_start(
        self,
        warnings: Iterable[str] = (),
        export_files: dict[str, bytes] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        """Open the log and write config, environment and the CSV files of the last checkpoint.

        warnings, notes: lines for the log.
        export_files: contents of further files, by name."""
        self.is_started = True
        open_log(self.path / "log.txt")
        for note in notes:
            log.info(note)
        for warning in warnings:
            log.warning(warning)
        self._write_config()
        self.write_export_files(export_files or {})
        self._record_environment()
        self.write_tables()

    def write_export_files(self, files: dict[str, bytes]) -> None:
        """Write files that describe the data, name -> contents."""
        for name, content in files.items():
            write_atomically(self.path / name, content)

    def write_or_remove_files(self, files: dict[str, bytes | None]) -> None:
        """Write files, name -> contents, and remove those whose contents are None."""
        self.write_export_files({name: text for name, text in files.items() if text is not None})
        for name in (name for name, text in files.items() if text is None):
            with os_errors_refused(self.path / name, "removed"):
                (self.path / name).unlink(missing_ok=True)

    def _record_environment(self) -> None:
        """Add this start to environment.json; warn if the environment has changed."""
        path, now = self.path / "environment.json", describe_environment(self.device)
        starts = read_environments(path)
        if self.last_checkpoint and starts and (words := environment_changes(starts[-1], now)):
            log.warning("resuming with %s: the last digits may differ from here on", words)
        write_atomically(path, json_bytes({"starts": [*starts, now]}))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the CSV files and then the checkpoint.

        state: plain types and tensors; the identity and the table rows are added to it."""
        self.checkpoints.save_next(self._checkpoint_dict(state))

    def take_snapshot(self, make_state: Callable[[], dict[str, Any]], force: bool = False) -> None:
        """Keep in memory what `save_checkpoint(make_state())` would write, in case of a signal.

        Without `force` only if enough time has passed (Checkpoints.take_snapshot)."""
        self.checkpoints.take_snapshot(lambda: self._checkpoint_dict(make_state()), force)

    def _checkpoint_dict(self, state: dict[str, Any]) -> dict[str, Any]:
        self._add_stage_time()
        return {**state, "identity": self.config["identity"], "rows": self.table_rows}

    def _update_tables(self, checkpoint: dict[str, Any]) -> None:
        """Write the rows of a checkpoint as CSV files."""
        self.table_rows = checkpoint["rows"]
        self.write_tables()

    def record_finish(
        self,
        file_stats: dict[str, Any],
        cycles: int,
        message: str,
        answers: dict[str, str] | None = None,
    ) -> None:
        """Record in config.json that the run has finished, and print the results.

        The record lets `finished_runs.match_finished_run` recognise the run later.

        file_stats: sizes and times of the data files (utils.fingerprints.file_stats).
        cycles: how many cycles are done.
        answers: digests of the files of a person's answers, as they were read, by name."""
        self.last_written_texts = None  # write them even so: somebody may have edited them
        self.write_tables()
        self.config["sources"] = file_stats
        self.config["finished"] = {
            "cycles": cycles,
            "files": finished_runs.content_digests(self.path),
            **({"answers": answers} if answers else {}),
            **({"stopped": self.stop_reason} if self.stop_reason else {}),
        }
        self._write_config()
        if self.is_started:
            log.debug("%s", message)
        finished_runs.print_results(self.path, message)

    @contextmanager
    def time_stage(self, cycle: int | str, stage: str) -> Iterator[None]:
        """Add the duration of the block to the stage's row of timing.csv, and the peak memory.

        cycle: the number of the cycle, or "all"."""
        self.current_stage = (cycle, stage, time.perf_counter())
        title = stage if isinstance(cycle, str) else f"cycle {cycle + 1}: {stage}"
        with StageProgress(title):
            yield
        self._add_stage_time()
        self.current_stage = None

    def _add_stage_time(self) -> None:
        """Count the current stage up to now, so that a checkpoint within it keeps its seconds."""
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

    def forget_cycles(self, first: int) -> None:
        """Remove the rows of the cycles from `first` on, which will be repeated, from the tables.

        The rows of acquired.csv carry the number of the cycle before, whose network chose them.
        Second looks are not repeated: their rows stay."""

        def is_kept(table: str, cycle: int | str) -> bool:
            if isinstance(cycle, str) or table == "second_looks":
                return True
            return cycle < first - (table == "acquired")

        self.table_rows = {
            name: [row for row in rows if is_kept(name, row["cycle"])]
            for name, rows in self.table_rows.items()
        }
        if self.tensorboard:  # a new file of events replaces what the earlier ones have
            self.tensorboard.close()
            self.tensorboard = TensorBoardWriter(self.path)

    def add_second_looks(self, rows: list[dict[str, Any]]) -> None:
        """Add rows to second_looks.csv, and give the labels that they amend to acquired.csv."""
        self.table_rows.setdefault("second_looks", []).extend(rows)
        amended = {row["index"]: row["label_after"] for row in rows}
        acquired = [
            {**row, "label": amended.get(row["index"], row["label"])}
            for row in self.table_rows["acquired"]
        ]
        self.table_rows["acquired"] = [row for row in acquired if row["label"] >= 0]

    def write_tables(self) -> None:
        """Write the CSV files from the rows; every checkpoint begins with this.

        Raises UserError if another process has taken over the folder."""
        self.lease.require_held()
        headers = {
            "results": result_tables.results_header(self.eval_prefixes),
            "acquired": result_tables.ACQUIRED_COLUMNS,
            "timing": result_tables.TIMING_COLUMNS,
            "estimates": result_tables.ESTIMATES_COLUMNS,
            "second_looks": result_tables.SECOND_LOOK_COLUMNS,
        }
        texts = {
            name: render_csv(header, self.table_rows[name])
            for name, header in headers.items()
            if name in TABLES or self.table_rows.get(name)
        }
        # Within a cycle only the timing changes, and that can wait for the end of the cycle.
        if (texts["results"], texts["acquired"]) == self.last_written_texts:
            return
        for name, text in texts.items():
            write_atomically(self.path / f"{name}.csv", text.encode())
        self.last_written_texts = texts["results"], texts["acquired"]
        if self.tensorboard:
            self.tensorboard.write_new_rows(self.table_rows)

    def _write_config(self) -> None:
        write_atomically(self.path / "config.json", json_bytes(self.config))

    def _check_same_identity(self) -> None:
        """Raises UserError if the folder's config.json records another identity.

        The run keeps the names of the classes that the data had when it began."""
        config = finished_runs.read_run_config(self.path)
        if config is None:
            return
        before, now = config.get("identity"), self.config["identity"]
        cure = "use another --run-dir"
        identity.check_same_identity(before, now, f"run folder {self.path}", cure)
        assert isinstance(before, dict)  # it passed the check
        if "classes" in before:
            self.config["identity"] = {**now, "classes": before["classes"]}

    def _load_last_checkpoint(self) -> dict[str, Any] | None:
        checkpoint = self.checkpoints.load_latest()
        if checkpoint:
            identity.check_same_identity(
                checkpoint.get("identity"),
                self.config["identity"],
                str(self.checkpoints.path),
                "delete it to start again",
            )
        return checkpoint

    def _move_old_files_aside(self) -> None:
        """For --resume False: move the files of an earlier run to a folder beside this one."""
        old_files = [path for path in self.path.iterdir() if path.name != LEASE_FOLDER]
        if not old_files:
            return
        has_name = bool(self.path.name.strip("."))  # "." and ".." have none
        path, number = self.path if has_name else Path(os.path.abspath(self.path)), 1
        while (aside := path.with_name(f"{path.name}.old{number}")).exists():
            number += 1
        with os_errors_refused(aside):
            aside.mkdir()
            for path in old_files:
                path.rename(aside / path.name)
