"""The run folder: where a run is, what it leaves, how it goes on after a kill.

The checkpoint is the truth; the CSV files are views of the rows in it, written anew (atomically)
with each, so a kill at any moment leaves them whole and nothing is counted twice.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from experiment import finished_runs, identity, result_tables
from experiment.checkpoint import Checkpoints
from experiment.environment import compared, environment, peak_memory, starts_of
from experiment.tensorboard import Scalars
from utils.console import Stage, log, one_line, open_log
from utils.errors import UserError
from utils.files import (
    json_bytes,
    make_folder,
    remove_empty,
    render_csv,
    sweep,
    told,
    write_atomically,
)
from utils.lease import LEASE, Lease


class Run:
    """An open run folder, held by a lease against a second process; to be used in a `with`.

    rows: {"results", "acquired", "timing"} -> list of dicts, the contents of the CSV files; state:
    what the last checkpoint holds, None where there is none.  A signal that stops the run within
    the `with` saves what was kept last; an error before `start` leaves no new folder behind."""

    def __init__(
        self, folder: Path, config: dict, *, device, resume: bool, judges=("",), scalars=False
    ):
        """config: every option, and the identity; judges: prefixes of the accuracy columns;
        scalars: write them for TensorBoard too.

        Raises UserError where the folder cannot be written, is in use by another process or
        holds another identity."""
        self.folder, self.config, self.judges = folder, config, judges
        self.device, self.stage = torch.device(device), None
        self.rows = {"results": [], "acquired": [], "timing": []}
        self.checkpoints = Checkpoints(folder / "checkpoint.pt", self._view)
        self.lease, self.started, self.written = None, False, None
        self.scalars = Scalars(folder) if scalars else None
        if resume:
            self._require_same()
        with told(folder):
            self.made = make_folder(folder)
        try:
            self.lease = Lease(folder, "run folder")
            if not resume:
                self._set_aside()
            self.state = self._last_checkpoint()
            sweep(folder)
        except BaseException:
            self._leave()
            raise
        if self.state:
            self.rows = self.state["rows"]

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error) -> None:
        if self.started and error[1]:
            with suppress(UserError):  # the disk may be what is full
                log.debug("stopped: %s", one_line(str(error[1]) or type(error[1]).__name__))
        try:
            self.checkpoints.__exit__(*error)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Give the folder back; leave nothing of one that was made for nothing."""
        if self.scalars:
            self.scalars.close()
        for_nothing = self.made and not self.started
        if self.lease:
            self.lease.undo() if for_nothing else self.lease.release()
        if for_nothing:
            remove_empty(self.made)

    def start(self, notices: Iterable[str] = (), texts: dict[str, str] | None = None) -> None:
        """Write what the run is, note the environment, bring the CSV files to the state of the
        checkpoint.  notices: lines of warning for the log; texts: further files, by name."""
        self.started = True
        open_log(self.folder / "log.txt")
        for notice in notices:
            log.warning(notice)
        self._write_config()
        for name, text in (texts or {}).items():
            write_atomically(self.folder / name, text.encode())
        self._note_environment()
        self.write_tables()

    def _note_environment(self) -> None:
        """An entry of environment.json for this start; a warning where it is another machine's."""
        path, now = self.folder / "environment.json", environment(self.device)
        starts = starts_of(path)
        if self.state and starts and (words := compared(starts[-1], now)):
            log.warning("going on with %s: the last digits may differ from here on", words)
        write_atomically(path, json_bytes({"starts": [*starts, now]}))

    def save(self, state: dict) -> None:
        """Write the CSV files and then the checkpoint: plain types and tensors only."""
        self.checkpoints.save(self._whole(state))

    def keep(self, state: Callable[[], dict], now: bool = False) -> None:
        """Remember what `state`() would save, for a signal: now, or where it is time to."""
        self.checkpoints.keep(lambda: self._whole(state()), now)

    def _whole(self, state: dict) -> dict:
        self._clock()
        return {**state, "identity": self.config["identity"], "rows": self.rows}

    def _view(self, whole: dict) -> None:
        """What a checkpoint's rows look like as tables."""
        self.rows = whole["rows"]
        self.write_tables()

    def finish(self, sources: dict, cycles: int, word: str) -> None:
        """Note that this many cycles are done, on these data, for who asks for the same again; and
        report.  sources: sizes and times of the files that were read (fingerprints.stamps)."""
        self.written = None  # somebody may have edited them meanwhile
        self.write_tables()
        self.config["sources"] = sources
        self.config["finished"] = {"cycles": cycles, "files": finished_runs.contents(self.folder)}
        self._write_config()
        if self.started:
            log.debug("%s", word)
        finished_runs.report(self.folder, word)

    @contextmanager
    def timed(self, cycle, stage: str):
        """Add the seconds of a stage to its row of timing.csv, and the process's peak so far."""
        self.stage = (cycle, stage, time.perf_counter())
        where = stage if isinstance(cycle, str) else f"cycle {cycle + 1}: {stage}"
        with Stage(where):
            yield
        self._clock()
        self.stage = None

    def _clock(self) -> None:
        """Book the open stage up to now, so that a checkpoint within it keeps its seconds."""
        if self.stage is None:
            return
        cycle, stage, begin = self.stage
        now, peak = time.perf_counter(), peak_memory(self.device)
        self.stage = (cycle, stage, now)
        for row in self.rows["timing"]:
            if (row["cycle"], row["stage"]) == (cycle, stage):
                row["seconds"] = round(row["seconds"] + now - begin, 3)
                row["peak_so_far_mib"] = max(row["peak_so_far_mib"], peak)
                return
        values = (cycle, stage, round(now - begin, 3), peak)
        self.rows["timing"].append(dict(zip(result_tables.TIMING, values, strict=True)))

    def write_tables(self) -> None:
        """The CSV files, from the rows: what every save begins with.

        Raises UserError where another process has taken the folder over."""
        self.lease.require()
        headers = {
            "results": result_tables.results_header(self.judges),
            "acquired": result_tables.ACQUIRED,
            "timing": result_tables.TIMING,
        }
        texts = {name: render_csv(header, self.rows[name]) for name, header in headers.items()}
        told = texts["results"], texts["acquired"]
        if told != self.written:  # within a cycle only the timing moves: later is soon enough
            for name, text in texts.items():
                write_atomically(self.folder / f"{name}.csv", text.encode())
            self.written = told
            if self.scalars:
                self.scalars.write(self.rows)

    def _write_config(self) -> None:
        write_atomically(self.folder / "config.json", json_bytes(self.config))

    def _require_same(self) -> None:
        before = finished_runs.read_config(self.folder)
        if before is None:
            return
        who = self.config["identity"]
        cure = "name another --run-dir"
        identity.require_same(before.get("identity"), who, f"run folder {self.folder}", cure)

    def _last_checkpoint(self) -> dict | None:
        state = self.checkpoints.last()
        if state:
            cure, mine = "delete it, and the run starts again", self.config["identity"]
            where = str(self.checkpoints.path)
            identity.require_same(state.get("identity"), mine, where, cure)
        return state

    def _set_aside(self) -> None:
        """--resume False: an earlier run's files move to a folder beside it, none is lost."""
        old = [path for path in self.folder.iterdir() if path.name != LEASE]
        if not old:
            return
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.old{number}")).exists():
            number += 1
        aside.mkdir()
        for path in old:
            path.rename(aside / path.name)
