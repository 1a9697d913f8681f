"""Internal. ``pods/log``: what somebody who runs the commands of Pods on this machine has written down.

This server runs nothing. ``kontinue dev --jobs=process`` does, and keeps a file for each Pod in a folder that both know
(``file_name``, ``stamped``); without one, or without a file of the Pod, a request is refused. Options are those of
Kubernetes. Called by ``kontinue_engine.apiserver.virtual``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.http.http_protocol import Answer, Stream, StreamResponse, chunk

POLL_S: Final = 0.2
"""How often a log that is followed is looked at. Judgement."""
CHUNK_BYTES: Final = 64 * 1024
PLAIN: Final = "text/plain"

_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")

FindPod = Callable[[], Mapping[str, Any] | None]


def file_name(namespace: str, pod: str) -> str:
    """Return the name of the file with the log of a Pod."""
    return f"{namespace}_{pod}.log"


def stamped(line: bytes, now: datetime) -> bytes:
    """Return a line as it stands in the file: after the time at which it was printed."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode() + b" " + line


class LogOptions(msgspec.Struct, frozen=True):
    """What of ``PodLogOptions`` is obeyed.

    Attributes:
        tail: the last so many lines; None: all.
        since: lines from then on.
        limit: at most so many bytes; None: all.
    """

    container: str
    follow: bool
    timestamps: bool
    tail: int | None
    since: datetime | None
    limit: int | None


def parse_options(query: Mapping[str, str], now: datetime) -> LogOptions:
    """Return the options of a request.

    Raises:
        StatusError: one of them is no number, or no time.
    """
    since = _time(query.get("sinceTime", ""))
    seconds = _number(query, "sinceSeconds")
    if seconds is not None:
        since = datetime.fromtimestamp(now.timestamp() - seconds, UTC)
    return LogOptions(
        container=query.get("container", ""),
        follow=requests.is_true(query.get("follow")),
        timestamps=requests.is_true(query.get("timestamps")),
        tail=_number(query, "tailLines"),
        since=since,
        limit=_number(query, "limitBytes"),
    )


class PodLogs:
    """Logs of Pods in one folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def answer(self, pod: Mapping[str, Any], find: FindPod, options: LogOptions) -> Answer:
        """Answer a request for the log of a Pod.

        Args:
            pod: which.
            find: returns it as it is later; None if it is gone.
            options: what is asked for.

        Raises:
            StatusError: the Pod has no such container, or no log.
        """
        meta = pod["metadata"]
        _check_container(pod, options.container)
        path = None if self._folder is None else self._folder / file_name(meta["namespace"], meta["name"])
        if path is None or not path.is_file():
            raise statuses.bad_request(
                f"pod {meta['name']} has no log: this server stores pods and runs none; kontinue dev --jobs=process "
                "runs those of Jobs, and keeps what they print"
            )
        return StreamResponse(lambda stream: _Sending(stream, path, find, options).start(), content_type=PLAIN)


class _Sending:
    """One answer: what is there, then what is added until nothing runs in the Pod any more."""

    def __init__(self, stream: Stream, path: Path, find: FindPod, options: LogOptions) -> None:
        self._stream = stream
        self._path = path
        self._find = find
        self._options = options
        self._file: BinaryIO = path.open("rb")
        self._left = options.limit
        self._timer: asyncio.Handle | None = None

    def start(self) -> None:
        self._stream.on_closed = self._close
        self._stream.send_initial(self._initial())

    def _initial(self) -> Iterator[bytes]:
        lines: Iterable[bytes] = itertools.chain(_lines_of_rotated(self._path), _whole_lines(self._file))
        if self._options.since is not None:
            since = stamped(b"", self._options.since)
            lines = itertools.dropwhile(lambda line: line < since, lines)
        if self._options.tail is not None:
            lines = deque(lines, maxlen=self._options.tail)
        yield from self._chunks(lines)
        self._timer = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Send what was added; end the answer when no more comes."""
        if not self._stream.is_open:
            return
        pod = self._find() if self._options.follow else None
        is_over = pod is None or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
        for framed in self._chunks(self._added()):  # after the look at the Pod: its end is told when all is written
            self._stream.send(framed)
        if is_over or self._left == 0:
            self._stream.end()
        else:
            self._timer = asyncio.get_running_loop().call_later(POLL_S, self._go_on)

    def _added(self) -> Iterator[bytes]:
        if not self._options.follow:
            return
        yield from _whole_lines(self._file)
        try:
            if self._path.stat().st_ino == os.fstat(self._file.fileno()).st_ino:
                return
            newer = self._path.open("rb")
        except FileNotFoundError:  # between the two steps of a rotation: it is there the next time
            return
        self._file.close()
        self._file = newer
        yield from _whole_lines(self._file)

    def _chunks(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        part: list[bytes] = []
        size = 0
        for line in lines:
            text = line if self._options.timestamps else line.partition(b" ")[2]
            if self._left is not None:
                text = text[: self._left]
                self._left -= len(text)
            part.append(text)
            size += len(text)
            if size >= CHUNK_BYTES:
                yield chunk(b"".join(part))
                part, size = [], 0
        if size:
            yield chunk(b"".join(part))

    def _close(self) -> None:
        self._file.close()
        if self._timer is not None:
            self._timer.cancel()


def _lines_of_rotated(path: Path) -> Iterator[bytes]:
    try:
        with path.with_name(f"{path.name}.1").open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines from where the file stands; one that has no end yet is left for later."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield line


def _check_container(pod: Mapping[str, Any], wanted: str) -> None:
    """Refuse what Kubernetes refuses: a container that there is not, or none of several."""
    meta, spec = pod["metadata"], pod["spec"]
    names = [one["name"] for kind in _CONTAINERS for one in spec.get(kind) or ()]
    if wanted and wanted not in names:
        raise statuses.bad_request(f"container {wanted} is not valid for pod {meta['name']}")
    if not wanted and len(spec["containers"]) > 1:
        raise statuses.bad_request(
            f"a container name must be specified for pod {meta['name']}, choose one of: [{' '.join(names)}]"
        )


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if len(text) > 18 or re.fullmatch(r"-?[0-9]+", text) is None:
        raise statuses.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if (number := int(text)) < 0:
        problem = "must be greater than or equal to 0"
        raise statuses.invalid_options(
            "PodLogOptions", [statuses.cause("FieldValueInvalid", name, value=number, detail=problem)]
        )
    return number


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise statuses.bad_request(f"sinceTime: {text!r} is no time, RFC 3339")
    return found.astimezone(UTC)
