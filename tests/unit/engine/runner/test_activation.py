"""Ends of activations as frames."""

from kontinue_engine.errors import FrameTooLargeError
from kontinue_engine.runner.activation import send_ended
from kontinue_engine.wire import frames


def test_an_end_that_is_too_large_for_a_frame_is_replaced_by_a_small_failure() -> None:
    """An activation that never ended would hang for ever, and keep its slot."""
    sent: list[frames.RunnerEvent] = []

    def send(event: frames.RunnerEvent) -> None:
        if isinstance(event, frames.Completed):
            raise FrameTooLargeError(frame="Completed", size_bytes=70, limit_bytes=64)
        sent.append(event)

    send_ended(send, 1, b"1")
    (failed,) = sent
    assert isinstance(failed, frames.Failed)
    assert (failed.reason, failed.error.message) == ("InternalError", "frame Completed has 70 bytes, the limit is 64")
