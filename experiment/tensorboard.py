"""A run's numbers for TensorBoard: a view of the rows that the CSV files show.

It is there for who watches.  Nothing of it may stop a run: what goes wrong is one line of warning,
and no more is written.
"""

import threading
from contextlib import suppress
from pathlib import Path

from utils.console import log, to_one_line

TENSORBOARD_FOLDER = "tensorboard"  # in the run folder


class TensorBoardWriter:
    """Writes event files; rows that were written before, by an earlier start, are hidden.

    Results stand at their number of labels, seconds at the cycle."""

    def __init__(self, folder: Path):
        self.folder, self.summary_writer, self.written_points = (
            folder / TENSORBOARD_FOLDER,
            None,
            set(),
        )
        self.is_open = True

    def write_new_rows(self, rows: dict[str, list[dict]]) -> None:
        """Those of the rows (of experiment.run_folder.Run) that are new.  Never raises."""
        if not self.is_open:
            return
        try:
            self._write_rows(rows)
        except ImportError:
            self._give_up("it needs pip install -r requirements-report.txt")
        except Exception as error:  # of a library, its thread or the disk: all the same to the run
            self._give_up(to_one_line(str(error)) or type(error).__name__)

    def _write_rows(self, rows: dict[str, list[dict]]) -> None:
        if self.summary_writer is None:
            from torch.utils.tensorboard import SummaryWriter  # needs a package that is an extra

            threading.excepthook = _silence_writer_threads(threading.excepthook)
            self.summary_writer = SummaryWriter(str(self.folder), purge_step=0)
        for row in rows["results"]:
            for name, value in row.items():
                if name not in ("cycle", "labeled") and value is not None:
                    self._add_scalar(f"results/{name}", value, row["labeled"])
        for row in rows["timing"]:
            if not isinstance(row["cycle"], str):  # a stage of a cycle that is over
                self._add_scalar(f"seconds/{row['stage']}", row["seconds"], row["cycle"])
        self.summary_writer.flush()

    def close(self) -> None:
        """No more is written.  Never raises."""
        self.is_open = False
        if self.summary_writer:
            with suppress(Exception):
                self.summary_writer.close()

    def _add_scalar(self, name: str, value, step: int) -> None:
        if (name, step) not in self.written_points:
            self.summary_writer.add_scalar(name, float(value), step)
            self.written_points.add((name, step))

    def _give_up(self, why: str) -> None:
        self.close()
        log.warning("TensorBoard gets nothing more of this run: %s", why)


def _silence_writer_threads(hook):
    """What its thread fails with is told where it is next asked to write: no traceback beside."""

    def told(args) -> None:
        if not type(args.thread).__module__.startswith("tensorboard"):
            hook(args)

    return told
