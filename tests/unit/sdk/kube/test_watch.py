"""Watch streams survive any cutting of their bytes, and lines become typed events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue import errors
from kontinue.api.v1alpha1 import Execution
from kontinue.kube.watch import Bookmark, Changed, EventDecoder, LineSplitter, Undecodable

ADDED = b'{"type":"ADDED","object":{"metadata":{"name":"x","resourceVersion":"3"},"spec":{"function":"f"}}}'


@given(st.lists(st.binary().map(lambda part: part.replace(b"\n", b""))), st.data())
def test_any_split_of_the_stream_gives_the_same_lines(lines, data):
    """Chunks end anywhere; empty lines and an unfinished last line are left out."""
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    splitter = LineSplitter()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found == [line for line in lines if line]


def test_a_line_past_the_limit_is_refused_before_it_is_complete():
    """Memory stays bounded whatever a broken server sends."""
    splitter = LineSplitter(max_line_bytes=10)
    assert splitter.feed(b"0123456789\n012345") == [b"0123456789"]
    with pytest.raises(errors.Unavailable, match="longer than 10 bytes"):
        splitter.feed(b"678901")
    with pytest.raises(errors.Unavailable):
        LineSplitter(max_line_bytes=10).feed(b"01234567890\n")


def test_changes_are_decoded_as_their_type():
    """ADDED, MODIFIED and DELETED carry whole objects."""
    event = EventDecoder(Execution).decode(ADDED)
    assert isinstance(event, Changed)
    assert (event.type, event.object.spec.function) == ("ADDED", "f")


def test_bookmark_carries_its_version():
    """A bookmark has no other content."""
    line = b'{"type":"BOOKMARK","object":{"kind":"Execution","metadata":{"resourceVersion":"9"}}}'
    assert EventDecoder(Execution).decode(line) == Bookmark("9")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}', errors.Gone),
        (b'{"type":"ERROR","object":{"code":403,"reason":"Forbidden"}}', errors.Forbidden),
        (b'{"type":"WHATEVER","object":{}}', errors.Unavailable),
        (b"<html>", errors.Unavailable),
        (b'{"type":"ADDED"', errors.Unavailable),
        (b'{"type":"BOOKMARK","object":7}', errors.Unavailable),
    ],
)
def test_errors_and_rubbish_end_the_watch(line, kind):
    """ERROR events become the error of their Status, anything unknown a broken stream."""
    with pytest.raises(kind):
        EventDecoder(Execution).decode(line)


def test_an_object_that_does_not_fit_is_named_and_the_watch_goes_on():
    """One bad object must not blind a worker to all others."""
    line = ADDED.replace(b'"spec":{"function":"f"}', b'"spec":7')
    event = EventDecoder(Execution).decode(line)
    assert isinstance(event, Undecodable)
    assert (event.resource_version, event.name) == ("3", "/x")
    assert "$.spec" in event.problem
