"""The local API server as a process: started on a data folder, with faults if wanted, stopped by signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import yaml

START_TIMEOUT_S = 60.0
RUN_MAIN = "import sys; from kontinue_engine.apiserver.main import main; sys.exit(main())"


class ServerProcess:
    """One server process on a data folder.

    Attributes:
        ready: the first line that it has written, or an empty one.
        lines: those after it, as they come; all of them once the process has ended.
    """

    def __init__(self, data_dir: Path, port: int = 0, *, fault: str = "") -> None:
        self.data_dir = data_dir
        command = command_of(data_dir, "--port", str(port), fault=fault)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stdout, self._process.stdout = self._process.stdout, None  # read here, not by communicate()
        assert stdout is not None
        self.ready = json.loads(stdout.readline() or "{}")
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def token(self) -> str:
        return self.token_of(self.data_dir)

    @staticmethod
    def token_of(data_dir: Path) -> str:
        config = yaml.safe_load((data_dir / "kubeconfig").read_text())
        return str(config["users"][0]["user"]["token"])

    def stop(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self.wait()

    def terminate(self) -> None:
        """End it in order, whatever it has written."""
        self._process.terminate()
        self._process.communicate(timeout=START_TIMEOUT_S)

    def wait(self) -> int:
        _, self.errors = self._process.communicate(timeout=START_TIMEOUT_S)
        self._reader.join(START_TIMEOUT_S)
        return self._process.returncode

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            for line in stdout:
                self.lines.append(json.loads(line))


def command_of(data_dir: Path, *options: str, fault: str = "") -> list[str]:
    """Return the command of a server; ``fault`` is code that it runs first."""
    server = ["-c", f"{fault}\n{RUN_MAIN}"] if fault else ["-m", "kontinue_engine.apiserver"]
    return [sys.executable, *server, "--data-dir", str(data_dir), *options]
