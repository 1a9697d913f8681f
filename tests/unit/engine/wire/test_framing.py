import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.errors import FrameTooLargeError, ProtocolError
from kontinue_engine.wire import frames, framing

_EVENTS = st.one_of(
    st.builds(frames.Ready, pid=st.integers(1, 2**22)),
    st.builds(frames.Running, activation=st.integers(0, 2**60)),
    st.builds(frames.Completed, activation=st.integers(0, 99), result=st.binary(max_size=3000)),
    st.builds(frames.LogLine, activation=st.integers(0, 99), level=st.just("stdout"), text=st.text()),
)


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(sent=st.lists(_EVENTS, max_size=8), cuts=st.lists(st.integers(0, 2**20), max_size=30))
def test_any_split_of_the_bytes_gives_the_same_frames(sent: list[frames.RunnerEvent], cuts: list[int]) -> None:
    """However a pipe cuts the stream, the frames arrive whole and in order."""
    stream = b"".join(framing.encode(frame) for frame in sent)
    decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)
    assert [frame for piece in _split(stream, cuts) for frame in decoder.feed(piece)] == sent
    assert decoder.pending_bytes == 0


@given(garbage=st.binary(min_size=1, max_size=200), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_garbage_is_a_protocol_error_or_an_incomplete_frame(garbage: bytes, cuts: list[int]) -> None:
    """Bytes of a broken runner raise nothing but ProtocolError."""
    decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent, max_bytes=1000)
    try:
        for piece in _split(garbage, cuts):
            list(decoder.feed(piece))
    except ProtocolError:
        pass


def test_frames_before_a_bad_one_are_delivered() -> None:
    """What a runner said before it went mad counts."""
    decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)
    received = decoder.feed(framing.encode(frames.Running(7)) + b"\0\0\0\1x")
    assert next(received) == frames.Running(7)
    with pytest.raises(ProtocolError, match="no expected frame"):
        next(received)


def test_a_frame_of_the_wrong_direction_is_refused() -> None:
    """A runner cannot send commands."""
    decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)
    with pytest.raises(ProtocolError, match="Recall"):
        list(decoder.feed(bytes(framing.encode(frames.Recall(1)))))


def test_an_announced_size_past_the_limit_is_refused_before_its_bytes_come() -> None:
    """A broken length prefix never makes the reader wait for gigabytes."""
    decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)
    with pytest.raises(ProtocolError, match=r"4294967295 bytes, the limit is 67108864"):
        list(decoder.feed(b"\xff\xff\xff\xff"))


def test_a_too_large_frame_is_not_encoded() -> None:
    """The sender learns which frame is too large, and by how much."""
    frame = frames.Completed(1, b"x" * 2000)
    with pytest.raises(FrameTooLargeError, match=r"frame Completed has 2\d{3} bytes, the limit is 2000") as caught:
        framing.encode(frame, max_bytes=2000)
    assert caught.value.frame == "Completed"
    assert caught.value.size_bytes == len(msgspec.msgpack.encode(frame))
