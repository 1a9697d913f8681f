"""Responses come out the same however their bytes are cut, and nothing grows without a limit."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.kube import _response
from kontinue.kube._response import Response, ResponseError, ResponseParser, ResponseTooLargeError


def parse(parts, *, eof=False, **options):
    """Feed ``parts`` to a new parser; return it and the response, or None while that is incomplete."""
    parser = ResponseParser(**options)
    for part in parts:
        parser.feed(part)
    if eof:
        parser.feed_eof()
    whole = Response(parser.status, parser.take_body(), parser.retry_after) if parser.is_complete else None
    return parser, whole


def cut(data, places):
    """Cut ``data`` at each of ``places``."""
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


def encode(status, headers, body, framing, chunk_sizes):
    """Return the bytes of a response."""
    lines = [f"HTTP/1.1 {status} Some Phrase".encode(), *(b"%b: %b" % pair for pair in headers)]
    if framing == "length":
        payload = body
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        pieces = cut(body, [size for size in chunk_sizes if size < len(body)])
        payload = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: t\r\n\r\n"
        lines.append(b"Transfer-Encoding: chunked")
    else:
        payload = body
    return b"\r\n".join(lines) + b"\r\n\r\n" + payload


RESPONSES = st.tuples(
    st.sampled_from([200, 201, 302, 404, 409, 429, 500, 503]),
    st.lists(
        st.tuples(
            st.sampled_from([b"X-Foo", b"Content-Type", b"Audit-Id", b"Date"]),
            st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(str.encode),
        ),
        max_size=4,
    ),
    st.binary(max_size=300),
    st.sampled_from(["length", "chunked", "eof"]),
    st.lists(st.integers(1, 299), max_size=5, unique=True),
)


@given(RESPONSES, st.booleans(), st.lists(st.integers(1, 800), max_size=12), st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_response(response, throttled, places, interim):
    """Whether they come at once or byte by byte; interim responses are passed over."""
    status, headers, body, framing, chunk_sizes = response
    headers = [*headers, (b"Retry-After", b"7")] if throttled else headers
    data = (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" if interim else b"") + encode(
        status, headers, body, framing, chunk_sizes
    )
    expected = Response(status, body, "7" if throttled else "")
    for parts in ([data], cut(data, [place for place in places if place < len(data)]), cut(data, range(1, len(data)))):
        parser, whole = parse(parts, eof=framing == "eof")
        assert whole == expected
        assert parser.is_reusable == (framing != "eof")


@given(RESPONSES.filter(lambda response: response[3] != "eof"), st.data())
def test_an_answer_cut_short_is_never_taken_for_a_whole_one(response, data):
    """At whichever byte the connection ends."""
    whole = encode(*response)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ResponseError, match="closed"):
        parse([whole[:end]] if end else [], eof=True)


@given(st.lists(RESPONSES.filter(lambda response: response[3] != "eof"), min_size=2, max_size=4))
def test_responses_of_one_connection_do_not_mix(responses):
    """Status, Retry-After and body start afresh with each request."""
    parser = ResponseParser()
    for status, headers, body, framing, chunk_sizes in responses:
        parser.begin()
        parser.feed(encode(status, headers, body, framing, chunk_sizes))
        assert (parser.status, parser.take_body(), parser.is_complete) == (status, body, True)
        assert parser.is_reusable


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_incomplete(data):
    """No input makes the parser fail in another way."""
    try:
        parser, whole = parse([data])
    except ResponseError:
        return
    assert whole is None
    assert parser.status == 0


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nX", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nX", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nXHTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nXgarbage", False),
    ],
    ids=["length", "no content", "close", "HTTP/1.0", "a second response", "garbage behind"],
)
def test_a_connection_is_reused_only_when_both_sides_agree(data, reusable):
    """What follows a whole response without being asked for spoils the connection, not the response."""
    parser, whole = parse([data])
    assert whole is not None
    assert parser.is_reusable is reusable


def test_an_announced_body_past_the_limit_is_refused_before_it_comes():
    """Nothing of it is kept."""
    with pytest.raises(ResponseTooLargeError) as caught:
        parse([b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"], max_body_bytes=10)
    assert caught.value.status == 200


def test_a_body_that_grows_past_the_limit_is_refused():
    """Chunks announce no total."""
    chunks = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"5\r\nhello\r\n"] * 3]
    with pytest.raises(ResponseTooLargeError):
        parse(chunks, max_body_bytes=10)


def test_a_body_that_is_taken_as_it_comes_has_no_limit():
    """A watch may be of any length."""
    parser = ResponseParser(max_body_bytes=10)
    parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        parser.feed(b"5\r\nhello\r\n")
        assert parser.untaken_bytes == 5
        assert parser.take_body() == b"hello"
    parser.feed(b"0\r\n\r\n")
    assert parser.is_complete


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
    ids=["header", "chunk extension", "trailer"],
)
def test_lines_without_end_are_refused(start):
    """Whatever part of the framing they are."""
    with pytest.raises(ResponseError, match="header or framing"):
        parse([start, *[b"x" * 1024] * 1000])


def test_headers_without_end_are_refused():
    """Many small ones count as one large one."""
    with pytest.raises(ResponseError, match="header is longer"):
        parse([b"HTTP/1.1 200 OK\r\n", *[b"X-Name: value\r\n"] * _response.MAX_HEADER_BYTES])


def test_a_switch_of_protocols_is_refused():
    """Nobody asks for one."""
    with pytest.raises(ResponseError, match="another protocol"):
        parse([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"])
