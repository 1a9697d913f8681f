"""Questions at a terminal, and Ctrl-C at any moment of one."""

from __future__ import annotations

import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

PROGRAM = """
import sys
import typer
from kontinue_engine.cli.asking import confirm

for line in iter(sys.stdin.readline, "stop\\n"):
    try:
        print("said", confirm("Sure?"))
    except typer.Abort:
        print("left")
"""
ROUNDS = 1000
"""With a question that loses one interrupt of a hundred and thirty, this passes once in two thousand times."""
PATIENCE_S = 60.0


class Terminal:
    """Somebody who types, and reads what is printed."""

    def __init__(self) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=follower, stdout=follower, stderr=follower
        )
        os.close(follower)

    def type(self, text: str) -> None:
        os.write(self.leader, text.encode())

    def read_to(self, *ends: str) -> str:
        """All that is printed until one of ``ends``."""
        seen = ""
        while not any(end in seen for end in ends):
            assert select.select([self.leader], [], [], PATIENCE_S)[0], f"nothing more is printed after {seen!r}"
            seen += os.read(self.leader, 65536).decode()
        return seen


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A program that asks a question for each line that it is sent."""
    terminal = Terminal()
    yield terminal
    terminal.process.kill()
    terminal.process.wait()
    os.close(terminal.leader)


@pytest.mark.parametrize(("answer", "said"), [("y", "True"), ("YES", "True"), ("n", "False"), ("", "False")])
def test_a_question_is_answered_by_yes_or_no(terminal: Terminal, answer: str, said: str) -> None:
    """No is what an empty line means; anything else is asked again."""
    terminal.type("\n")
    assert "Sure? [y/N]: " in terminal.read_to("[y/N]: ")
    terminal.type("perhaps\n")
    assert "invalid input" in terminal.read_to("input\r\nSure? [y/N]: ")
    terminal.type(f"{answer}\n")
    assert f"said {said}" in terminal.read_to("said True", "said False")


@pytest.mark.slow
def test_ctrl_c_ends_a_question_whenever_it_comes(terminal: Terminal) -> None:
    """Also between the moment when the question can be read and the one when the answer is waited for."""
    delays = random.Random(7)
    for _ in range(ROUNDS):
        terminal.type("\n")
        terminal.read_to("[y/N]: ")
        send_at = time.perf_counter() + delays.uniform(0, 0.0003)
        while time.perf_counter() < send_at:
            pass
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_to("left")
    terminal.type("stop\n")
    assert terminal.process.wait(PATIENCE_S) == 0


def test_the_end_of_input_leaves_a_question(terminal: Terminal) -> None:
    """Ctrl-D is no answer."""
    terminal.type("\n")
    terminal.read_to("[y/N]: ")
    terminal.type("\x04")
    terminal.read_to("left")
