"""The figures of a run as event files, which TensorBoard draws while the run trains."""

import time
from pathlib import Path
from typing import Any


class Events:
    """Writes each epoch's figures into the folder `tensorboard` of a run.

    Parameters
    ----------
    out : Path
        The run's folder; nothing is written before the first epoch.

    Raises
    ------
    ValueError
        If tensorboardX is not installed.
    """

    def __init__(self, out: Path) -> None:
        try:
            from tensorboardX.event_file_writer import EventsWriter
        except ImportError:
            raise ValueError(
                'train: --tensorboard needs tensorboardX: pip install "duonet[tensorboard]"'
            ) from None
        self.make, self.folder = EventsWriter, out / "tensorboard"
        self.writer: Any = None
        self.step = 0

    def __call__(self, rows: list[dict[str, Any]]) -> None:
        """Write the new rows; the first call writes all, as an earlier part may have run without event files."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        if self.writer is None:
            self.folder.mkdir(exist_ok=True)
            self.writer = self.make(
                str(self.folder / "events"), f".{len(rows)}"
            )  # so that two files of one second differ
            start = SessionLog(status=SessionLog.START)  # drops the points of earlier files from this step on
            self.writer.write_event(Event(wall_time=time.time(), step=1, session_log=start))
        for step, row in enumerate(rows[self.step :], self.step + 1):
            at = time.time() - sum(later["seconds"] for later in rows[step:])
            for name, value in row.items():
                if name not in ("epoch", "stage"):
                    self.writer.write_event(Event(wall_time=at, step=step, summary=scalar(name, value)))
        self.step = len(rows)
        self.writer.flush()
