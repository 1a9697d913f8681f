"""Internal. ``python -m kontinue_engine.replaying LAUNCH``: import an app, answer questions from stdin on stdout.

Started by ``kontinue_engine.replaying.process``, with the environment that runners have. What user code prints is
dropped; its stderr is that of whoever asks. The process ends with its stdin, without unwinding anything.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from typing import Final

import msgspec

from kontinue.app import App
from kontinue_engine.replaying.rehearsal import Rehearsal
from kontinue_engine.replaying.verdicts import Launch, Loaded
from kontinue_engine.runner import loader
from kontinue_engine.wire import frames

_decode_question: Final = msgspec.json.Decoder(frames.Activate).decode


class _Peer:
    """Whoever asks."""

    def __init__(self) -> None:
        self._questions = os.fdopen(os.dup(0), "rb")
        self._answers = os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="questions", daemon=True).start()

    def _read(self) -> None:
        for line in self._questions:
            self._lines.put(line)
        os._exit(0)  # also in the middle of a replay that has no end: nobody asks any more

    def next(self) -> frames.Activate:
        return _decode_question(self._lines.get())

    def answer(self, answer: msgspec.Struct) -> None:
        data = memoryview(msgspec.json.encode(answer) + b"\n")
        while data:
            data = data[os.write(self._answers, data) :]


def main(argument: str) -> None:
    """Serve until stdin ends; never returns."""
    launch = msgspec.json.decode(argument, type=Launch)
    peer = _Peer()
    try:
        app = loader.load_app(launch.app, launch.app_dir)
    except loader.LoadError as error:
        peer.answer(Loaded(problem=error.message, traceback=error.traceback))
        os._exit(1)
    peer.answer(_describe(app, launch.app_dir))
    rehearsal = Rehearsal(app.functions, asyncio.new_event_loop())
    while True:
        peer.answer(rehearsal.check(peer.next()))


def _describe(app: App, app_dir: str) -> Loaded:
    override = os.environ.get("KONTINUE_BUILD", "")
    build = loader.build_digest(app_dir, override=override)
    return Loaded(group=app.group, functions=sorted(app.functions), build=build)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        os._exit(1)
