"""The run folder: what identifies a run, what it leaves, how it goes on after a kill.

The checkpoint is the truth; the CSV files are views of the rows in it, written anew (atomically)
with each, so a kill at any moment leaves them whole and nothing is counted twice.
"""

import fcntl
import hashlib
import json
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from utils import records
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.environment import environment, peak_memory
from utils.errors import UserError
from utils.files import write_atomically
from utils.options import HOW


def run_folder(args, changed: dict) -> Path:
    """<out>/<dataset>/budget<b>/<arch>/<method>[_with_lp|_with_ceal][_pretrained]/<options
    hash>/split<k>, or --run-dir.

    changed: the options that differ from the paper's defaults; they alone make the hash, so that
    an option added later does not move the runs made before."""
    if args.run_dir:
        return Path(args.run_dir)
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:10]
    name = f"{args.exp_name}-{digest}" if args.exp_name else digest
    budget, method = f"budget{args.al_budget}", args.al_method
    flags = {"lp": args.add_lp, "ceal": args.add_ceal}
    method += "".join(f"_with_{flag}" for flag, is_on in flags.items() if is_on)
    method += "_pretrained" if args.add_unsupervised_pretraining else ""
    return Path(args.out, args.dataset, budget, args.arch, method, name, f"split{args.split}")


class Run:
    """An open run folder, locked against a second process.

    rows: {"results", "acquired", "timing"} -> list of dicts, the contents of the CSV files."""

    def __init__(self, folder: Path, config: dict, device, resume: bool):
        """Raises UserError where the folder cannot be written, is in use by another process or
        was made with other options."""
        self.folder, self.config = folder, config
        self.device, self.stage = torch.device(device), None
        self.rows = {"results": [], "acquired": [], "timing": []}
        if resume:
            _check_config(folder, config)
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
        self.state = load_checkpoint(folder / "checkpoint.pt") if self._has_checkpoint() else None
        if self.state:
            self.rows = self.state["rows"]
        write_atomically(folder / "config.json", _json(config))
        records.open_log(folder / "log.txt")

    @property
    def finished(self) -> bool:
        return bool(self.state) and self.state["finished"]

    def start(self) -> None:
        """Note the environment; bring the CSV files to the state of the checkpoint."""
        write_atomically(self.folder / "environment.json", _json(environment(self.device)))
        self._write_tables()

    def save(self, state: dict) -> None:
        """Write the CSV files and then the checkpoint: plain types and tensors only."""
        self._clock()
        self._write_tables()
        save_checkpoint(self.folder / "checkpoint.pt", {**state, "rows": self.rows})

    def report(self, word: str) -> None:
        """The closing lines on the terminal."""
        print(records.closing_table(self.rows["results"]))
        print(f"{word}. Results: {self.folder / 'results.csv'}")

    @contextmanager
    def timed(self, cycle, stage: str):
        """Add the seconds and the peak memory of a stage to its row of timing.csv."""
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
                row["peak_memory_mib"] = max(row["peak_memory_mib"], peak)
                return
        values = (cycle, stage, round(now - begin, 3), peak)
        self.rows["timing"].append(dict(zip(records.TIMING, values, strict=True)))

    def _write_tables(self) -> None:
        extra = records.VALIDATION if self.config["use_val_set"] else ()
        headers = {
            "results": records.RESULTS + extra,
            "acquired": records.ACQUIRED,
            "timing": records.TIMING,
        }
        for name, header in headers.items():
            text = records.render_csv(header, self.rows[name])
            write_atomically(self.folder / f"{name}.csv", text.encode())

    def _has_checkpoint(self) -> bool:
        return (self.folder / "checkpoint.pt").exists()

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


def _check_config(folder: Path, config: dict) -> None:
    path = folder / "config.json"
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): name another --run-dir") from None
    for name in sorted(set(before) & set(config)):  # an option may be newer than the folder
        if name not in HOW and before[name] != config[name]:
            raise UserError(
                f"run folder {folder} was made with {name} = {before[name]}, "
                f"not {config[name]}: name another --run-dir"
            )


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
