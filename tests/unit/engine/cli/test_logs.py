"""Which log lines belong to an Execution's tree, and where the files are."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kontinue.api.v1alpha1 import Execution
from kontinue.client.tree_state import build_tree
from kontinue_engine.cli.dev.log_files import LogFile, rotated_path
from kontinue_engine.cli.logs import LineTail, LogTails, NoLogsError, TreeFilter, find_logs

Make = Callable[..., Execution]


def test_a_tail_reads_whole_lines_only(tmp_path: Path) -> None:
    """A line that is still being written comes with the next call."""
    path = tmp_path / "worker.jsonl"
    tail = LineTail(path)
    assert list(tail.read()) == []
    path.write_bytes(b"one\ntw")
    assert list(tail.read()) == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert list(tail.read()) == [b"two", b"three"]


def test_a_tail_follows_a_rotation(tmp_path: Path) -> None:
    """The new file is read from its start."""
    path = tmp_path / "worker.jsonl"
    log = LogFile(path, max_bytes=12)
    tail = LineTail(path)
    log.write(b"1111111111")
    assert list(tail.read()) == [b"1111111111"]
    log.write(b"2222")
    log.close()
    assert list(tail.read()) == [b"2222"]
    assert rotated_path(path).read_bytes() == b"1111111111\n"


def test_lines_of_several_workers_come_in_the_order_of_time(tmp_path: Path) -> None:
    """From before a rotation, too, and from a worker that starts later; other files are left alone."""

    def write(file: str, *times: int) -> None:
        with (tmp_path / file).open("a") as log:
            log.writelines(f'{{"event":"output","time":"2026-01-01T00:00:0{time}"}}\n' for time in times)

    def seconds(lines: Iterable[Mapping[str, Any]]) -> list[int]:
        return [int(fields["time"][-1]) for fields in lines]

    write("worker-0.jsonl.1", 1)
    write("worker-0.jsonl", 2, 4)
    write("worker-1.jsonl", 3)
    write("server.jsonl", 3)
    tails = LogTails(tmp_path)
    assert seconds(tails.read_all()) == [1, 2, 3, 4]
    write("worker-2.jsonl", 5)
    write("worker-0.jsonl", 6)
    assert seconds(tails.read()) == [5, 6]


def test_lines_of_the_tree_are_chosen_by_uid(make_execution: Make) -> None:
    """An Execution of the same name that was deleted before is another one."""
    lines = TreeFilter("root", "default")
    lines.learn(build_tree(make_execution("root"), [make_execution("c", parent="root")]))
    assert lines.choose({"event": "output", "execution": "c", "uid": "uid-c"})
    assert not lines.choose({"event": "output", "execution": "root", "uid": "older"})
    assert not lines.choose({"event": "worker ready"})


def test_lines_that_came_before_their_child_was_known_are_not_lost(make_execution: Make) -> None:
    """They are handed out once the tree shows the child."""
    lines = TreeFilter("root", "default")
    root = make_execution("root")
    lines.learn(build_tree(root, []))
    early = {"event": "output", "execution": "c", "uid": "uid-c"}
    assert not lines.choose(early)
    assert lines.learn(build_tree(root, [make_execution("c", parent="root")])) == [early]
    assert lines.learn(build_tree(root, [make_execution("c", parent="root")])) == []


def test_without_a_server_names_decide() -> None:
    """A child's name starts with its parent's."""
    lines = TreeFilter("root", "default")
    assert lines.choose({"event": "output", "execution": "root", "uid": "u"})
    assert lines.choose({"event": "output", "execution": "root-1-abc", "uid": "v"})
    assert not lines.choose({"event": "output", "execution": "other", "uid": "w"})


def test_log_files_are_found_like_the_server(tmp_path: Path) -> None:
    """By --data-dir, beside the kubeconfig in use, or in a .kontinue above."""
    logs = tmp_path / ".kontinue" / "logs"
    logs.mkdir(parents=True)
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    kubeconfig = str(tmp_path / ".kontinue" / "kubeconfig")
    assert find_logs(tmp_path / ".kontinue", None, "", below) == logs
    assert find_logs(None, kubeconfig, "", below) == logs
    assert find_logs(None, None, kubeconfig, below) == logs
    assert find_logs(None, None, "", below) == logs


def test_without_log_files_the_error_says_where_they_are_in_a_cluster(tmp_path: Path) -> None:
    """Not everybody runs dev."""
    with pytest.raises(NoLogsError, match="kubectl logs POD"):
        find_logs(tmp_path, None, "", tmp_path)
