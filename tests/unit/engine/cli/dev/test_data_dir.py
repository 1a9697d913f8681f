"""One data directory, one session; one port, one server."""

import os
import socket
from pathlib import Path

import pytest

from kontinue_engine.cli.dev.data_dir import (
    DataDir,
    DataDirInUseError,
    DataDirUnusableError,
    DevState,
    ForgivingWriter,
    PortInUseError,
    choose_port,
    read_state,
)


def test_a_second_session_is_refused_by_pid(tmp_path: Path) -> None:
    """The error names who holds it and what to do; afterwards the directory is free again."""
    with DataDir(tmp_path), pytest.raises(DataDirInUseError, match=rf"pid {os.getpid()}\) .*--data-dir"):
        DataDir(tmp_path).__enter__()
    with DataDir(tmp_path):
        pass


def test_a_new_directory_is_private_and_kept_out_of_version_control(tmp_path: Path) -> None:
    """It holds a token and users' data."""
    with DataDir(tmp_path / "new") as data_dir:
        assert data_dir.path.stat().st_mode & 0o077 == 0
        assert data_dir.logs.stat().st_mode & 0o077 == 0
        assert (data_dir.path / ".gitignore").read_text() == "*\n"


def test_an_empty_folder_becomes_private_and_a_used_one_stays(tmp_path: Path) -> None:
    """A folder that holds other things is not ours to close."""
    for name, mode in {"empty": 0o700, "used": 0o755}.items():
        folder = tmp_path / name
        folder.mkdir(mode=0o755)
        if name == "used":
            (folder / "notes.txt").touch()
        with DataDir(folder):
            assert folder.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/kontinue"])
def test_what_cannot_be_a_data_directory_is_told_in_one_message(tmp_path: Path, place: str) -> None:
    """With the path and the way out."""
    (tmp_path / "file").touch()
    with pytest.raises(DataDirUnusableError, match=rf"{place} cannot be used: .*--data-dir DIR"):
        DataDir(tmp_path / place).__enter__()


def test_what_runs_is_readable_while_it_runs(tmp_path: Path) -> None:
    """And gone afterwards."""
    state = DevState(app="a:app", namespace="default", url="http://x", kubeconfig="k", dev_pid=1, server_pid=2)
    with DataDir(tmp_path) as data_dir:
        data_dir.write_state(state)
        assert read_state(tmp_path) == state
        assert (tmp_path / "dev.json").stat().st_mode & 0o077 == 0
    assert read_state(tmp_path) is None


def test_a_full_disk_is_told_once_until_there_is_space_again() -> None:
    """It does not end what runs."""
    told: list[str] = []
    writer = ForgivingWriter(told.append)
    full = Path("/dev/full")
    for write in (
        lambda: full.write_bytes(b"x"),
        lambda: full.write_bytes(b"x"),
        lambda: 0,
        lambda: full.write_bytes(b"x"),
    ):
        writer.attempt(full, write)
    assert told == ["cannot write /dev/full: No space left on device. Going on without it"] * 2


def test_a_port_in_use_is_named_with_the_option() -> None:
    """Zero picks a free one that can be bound then."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} .*--port N"):
            choose_port(port)
    free = choose_port(0)
    assert free > 0
    assert choose_port(free) == free
