import os
import threading
from collections.abc import Iterator

import pytest

from kontinue_engine.errors import FrameTooLargeError, ProtocolError
from kontinue_engine.runner.channel import Channel
from kontinue_engine.wire import frames, framing


class Pipes:
    def __init__(self) -> None:
        command_fd, self.command_write = os.pipe()
        self.event_read, event_fd = os.pipe()
        self.channel = Channel(command_fd=command_fd, event_fd=event_fd)
        self._all = [command_fd, self.command_write, self.event_read, event_fd]

    def events(self, count: int) -> list[frames.RunnerEvent]:
        decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)
        found: list[frames.RunnerEvent] = []
        while len(found) < count:
            found += decoder.feed(os.read(self.event_read, 2**20))
        return found

    def close(self) -> None:
        for fd in self._all:
            os.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def test_commands_are_received_across_reads(pipes: Pipes) -> None:
    """A command that is cut by the pipe is returned once it is whole."""
    data = framing.encode(frames.Recall(1)) + framing.encode(frames.Recall(2))
    os.write(pipes.command_write, data[:-3])
    assert list(pipes.channel.receive()) == [frames.Recall(1)]
    os.write(pipes.command_write, data[-3:])
    assert list(pipes.channel.receive()) == [frames.Recall(2)]


def test_garbage_from_the_supervisor_is_a_protocol_error(pipes: Pipes) -> None:
    """A runner does not guess."""
    os.write(pipes.command_write, b"\0\0\0\1?")
    with pytest.raises(ProtocolError):
        list(pipes.channel.receive())


def test_threads_that_send_at_once_do_not_mix_their_frames(pipes: Pipes) -> None:
    """Frames larger than the pipe, sent by several threads, arrive whole."""
    sent = [frames.Completed(n, bytes([n]) * 200_000) for n in range(8)]
    threads = [threading.Thread(target=pipes.channel.send, args=[event]) for event in sent]
    for thread in threads:
        thread.start()
    received = pipes.events(len(sent))
    for thread in threads:
        thread.join()
    assert sorted(received, key=lambda event: event.activation) == sent  # type: ignore[union-attr]


def test_a_too_large_event_is_refused_and_the_stream_goes_on(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender gets an error; what it sends next arrives."""
    monkeypatch.setattr(framing.encode, "__kwdefaults__", {"max_bytes": 100})
    with pytest.raises(FrameTooLargeError):
        pipes.channel.send(frames.Completed(1, b"x" * 200))
    pipes.channel.send(frames.Running(2))
    assert pipes.events(1) == [frames.Running(2)]


def test_collected_events_go_out_with_the_next_one_in_order(pipes: Pipes) -> None:
    """What is sent at once does not overtake what waits."""
    pipes.channel.collect(frames.Waiting(1, []))
    pipes.channel.collect(frames.Waiting(2, []))
    pipes.channel.send(frames.Running(1))
    assert pipes.events(3) == [frames.Waiting(1, []), frames.Waiting(2, []), frames.Running(1)]
    pipes.channel.flush()
    pipes.channel.collect(frames.Running(3))
    pipes.channel.flush()
    assert pipes.events(1) == [frames.Running(3)]
