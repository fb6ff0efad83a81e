"""The numbers of a run for TensorBoard: the rows of its CSV files as scalars.

This is for watching a run only and must never stop one: anything that fails is one line of warning,
after which nothing more is written.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.console import log, to_one_line

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_FOLDER = "tensorboard"  # in the run folder


class TensorBoardWriter:
    """Writes event files; events of an earlier start of the run are hidden.

    Results are plotted over the number of labels, seconds over the cycle."""

    def __init__(self, folder: Path):
        """folder: the run folder."""
        self.folder = folder / TENSORBOARD_FOLDER
        self.summary_writer: SummaryWriter | None = None
        self.written_points: set[tuple[str, int]] = set()
        self.is_open = True

    def write_new_rows(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Write those of the rows (RunFolder.table_rows) that are new. Never raises."""
        if not self.is_open:
            return
        try:
            self._write_rows(rows)
        except ImportError:
            self._give_up("it needs pip install --group reports")
        except Exception as error:  # of the library, its thread or the disk: the run goes on
            self._give_up(to_one_line(str(error)) or type(error).__name__)

    def _write_rows(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        writer = self.summary_writer or self._open_writer()
        for row in rows["results"]:
            for name, value in row.items():
                if name not in ("cycle", "labeled") and value is not None:
                    self._add_scalar(writer, f"results/{name}", value, row["labeled"])
        for row in rows["timing"]:
            if not isinstance(row["cycle"], str):  # not a stage outside the cycles
                self._add_scalar(writer, f"seconds/{row['stage']}", row["seconds"], row["cycle"])
        writer.flush()

    def _open_writer(self) -> "SummaryWriter":
        """Raises ImportError if the optional package is not installed."""
        from torch.utils.tensorboard import SummaryWriter

        threading.excepthook = _silence_writer_threads(threading.excepthook)
        self.summary_writer = SummaryWriter(str(self.folder), purge_step=0)
        return self.summary_writer

    def close(self) -> None:
        """Stop writing. Never raises."""
        self.is_open = False
        if self.summary_writer:
            with suppress(Exception):
                self.summary_writer.close()

    def _add_scalar(self, writer: "SummaryWriter", name: str, value: Any, step: int) -> None:
        if (name, step) not in self.written_points:
            writer.add_scalar(name, float(value), step)
            self.written_points.add((name, step))

    def _give_up(self, reason: str) -> None:
        self.close()
        log.warning("TensorBoard: nothing more of this run is written: %s", reason)


def _silence_writer_threads(
    hook: Callable[[threading.ExceptHookArgs], Any],
) -> Callable[[threading.ExceptHookArgs], None]:
    """A hook without tracebacks of TensorBoard's threads: their errors reappear in the next call
    that writes, and are reported there."""

    def report_other_threads(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith("tensorboard"):
            hook(args)

    return report_other_threads
