"""Curves as TensorBoard's event files."""

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event as Message
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import RecordWriter, summary

from .record import State


class TensorBoardCurves:
    """One event file for each time the training starts or is rolled back; TensorBoard shows them as one curve.

    torch's own writer hands events to a thread that writes them when it likes: what is in its hands dies with a killed
    process, and a full disk ends it with a traceback. Here an event is with the operating system once it is told.
    """

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: RecordWriter | None = None

    def start(self, config: Mapping[str, object], *, step: int) -> None:
        self._open(step)
        written = json.dumps(config, indent=2, default=str)
        self._write(summary.text("config", "\n".join(f"    {line}" for line in written.splitlines())), step)

    def step(self, values: Mapping[str, float], *, step: int) -> None:
        for name, value in values.items():
            self._write(summary.scalar(name, value), step)

    def epoch(self, number: int, values: Mapping[str, float], *, step: int) -> None:
        self.step(values, step=step)

    def event(self, text: str, *, step: int) -> None:
        self._write(summary.text("events", text), step)

    def rewind(self, *, step: int) -> None:
        self._close()
        self._open(step)

    def close(self, state: State) -> None:
        self._close()

    def _open(self, step: int) -> None:
        """Begin a file that voids what other files say of later steps.

        TensorBoard reads files in the order of their names, so these tell the time, to the nanosecond.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        place = f"{seconds:010d}.{nanoseconds:09d}.{socket.gethostname()}.{os.getpid()}"
        # Unbuffered: a buffer that cannot be written would be tried again when the file is closed.
        self._writer = RecordWriter((self._folder / f"events.out.tfevents.{place}").open("wb", buffering=0))
        self._write_message(Message(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write_message(Message(wall_time=time.time(), step=step + 1, session_log=start))

    def _write(self, what: Summary, step: int) -> None:
        self._write_message(Message(wall_time=time.time(), step=step, summary=what))

    def _write_message(self, message: Message) -> None:
        if self._writer is not None:
            self._writer.write(message.SerializeToString())

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
