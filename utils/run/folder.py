"""The run folder: where a run is, what it leaves, how it goes on after a kill.

The checkpoint is the truth; the CSV files are views of the rows in it, written anew (atomically)
with each, so a kill at any moment leaves them whole and nothing is counted twice.
"""

import fcntl
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from utils.errors import UserError
from utils.options.declare import Option, Part
from utils.options.kinds import natural, not_empty
from utils.run import finished, identity, tables
from utils.run.checkpoint import load_checkpoint, save_checkpoint
from utils.run.environment import environment, peak_memory
from utils.run.files import json_bytes, write_atomically
from utils.run.log import open_log


def _check(args) -> None:
    if args.exp_name is not None and set(args.exp_name) & set("/\\\0"):
        raise UserError(f"--exp-name {args.exp_name!r} must be a name without slashes")


_BELOW_OUT = (lambda args: args.run_dir is None, "no --run-dir")

FOLDER = Part(
    "run",
    options=(
        Option(
            "out",
            "runs",
            "where run folders and pre-trained weights go",
            kind=not_empty,
            metavar="FOLDER",
            identity=False,
            when=(
                lambda args: args.run_dir is None or args.add_unsupervised_pretraining,
                "no --run-dir",
            ),
        ),
        Option(
            "run_dir",
            None,
            "this very run folder (default: one below --out)",
            kind=not_empty,
            metavar="FOLDER",
            identity=False,
        ),
        Option(
            "exp_name",
            None,
            "a name put before the identity in the folder's path",
            kind=not_empty,
            metavar="NAME",
            identity=False,
            when=_BELOW_OUT,
        ),
        Option(
            "resume",
            True,
            "go on from the last checkpoint; False: anew",
            kind=bool,
            identity=False,
        ),
        Option(
            "checkpoint_epochs",
            25,
            "epochs between checkpoints; 0: between cycles only",
            kind=natural,
            metavar="N",
            identity=False,
        ),
    ),
    check=_check,
)


class Run:
    """An open run folder, locked against a second process.

    rows: {"results", "acquired", "timing"} -> list of dicts, the contents of the CSV files; state:
    what the last checkpoint holds, None where there is none."""

    def __init__(self, folder: Path, config: dict, *, device, resume: bool, judges=("",)):
        """config: every option, and the identity; judges: prefixes of the accuracy columns.

        Raises UserError where the folder cannot be written, is in use by another process or
        holds another identity."""
        self.folder, self.config, self.judges = folder, config, judges
        self.device, self.stage = torch.device(device), None
        self.rows = {"results": [], "acquired": [], "timing": []}
        if resume:
            self._require_same()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.lock = open(folder / ".lock", "w")  # noqa: SIM115  held until the process ends
        except OSError as error:
            raise UserError(f"run folder {folder} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"run folder {folder} is in use by another process") from None
        if not resume:
            self._set_aside()
        self.state = self._last_checkpoint()
        if self.state:
            self.rows = self.state["rows"]

    def start(self) -> None:
        """Write what the run is, note the environment, bring the CSV files to the state of the
        checkpoint."""
        self._write_config()
        found = json_bytes(environment(self.device))
        write_atomically(self.folder / "environment.json", found)
        self.write_tables()
        open_log(self.folder / "log.txt")

    def save(self, state: dict) -> None:
        """Write the CSV files and then the checkpoint: plain types and tensors only."""
        self._clock()
        self.write_tables()
        whose = {"identity": self.config["identity"], "rows": self.rows}
        save_checkpoint(self.folder / "checkpoint.pt", {**state, **whose})

    def finish(self, sources: dict, cycles: int, word: str) -> None:
        """Note that this many cycles are done, on these data, for who asks for the same again; and
        report.  sources: sizes and times of the files that were read (identity.stamps)."""
        self.write_tables()
        self.config["sources"] = sources
        self.config["finished"] = {"cycles": cycles, "files": finished.contents(self.folder)}
        self._write_config()
        finished.report(self.folder, word)

    @contextmanager
    def timed(self, cycle, stage: str):
        """Add the seconds of a stage to its row of timing.csv, and the process's peak so far."""
        self.stage = (cycle, stage, time.perf_counter())
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
        self.rows["timing"].append(dict(zip(tables.TIMING, values, strict=True)))

    def write_tables(self) -> None:
        """The CSV files, from the rows."""
        headers = {
            "results": tables.results_header(self.judges),
            "acquired": tables.ACQUIRED,
            "timing": tables.TIMING,
        }
        for name, header in headers.items():
            text = tables.render_csv(header, self.rows[name])
            write_atomically(self.folder / f"{name}.csv", text.encode())

    def _write_config(self) -> None:
        write_atomically(self.folder / "config.json", json_bytes(self.config))

    def _require_same(self) -> None:
        before = finished.read_config(self.folder)
        if before is None:
            return
        who = self.config["identity"]
        cure = "name another --run-dir"
        identity.require_same(before.get("identity"), who, f"run folder {self.folder}", cure)

    def _last_checkpoint(self) -> dict | None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return None
        state = load_checkpoint(path)
        cure = "delete it, and the run starts again"
        identity.require_same(state.get("identity"), self.config["identity"], str(path), cure)
        return state

    def _set_aside(self) -> None:
        """--resume False: an earlier run's files move to a folder beside it, none is lost."""
        old = [path for path in self.folder.iterdir() if path.name != ".lock"]
        if not old:
            return
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.old{number}")).exists():
            number += 1
        aside.mkdir()
        for path in old:
            path.rename(aside / path.name)
