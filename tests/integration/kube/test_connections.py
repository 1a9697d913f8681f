"""The transport's connections against servers that misbehave byte by byte, on asyncio's loop and on uvloop."""

import asyncio
import contextlib
import gc
import shutil
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.config import KubeConfig
from kontinue.kube.http import KubeTransport
from kontinue.kube.requests import EXECUTIONS

GET = requests.get(EXECUTIONS, "ns", "x")
CREATE = requests.create(EXECUTIONS, "ns", b'{"a":1}')
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class RawServer:
    """Serves each connection by the next handler of ``script``, and by ``keep_answering`` after the last.

    Attributes:
        opened: connections so far.
        seen: request lines in the order of arrival.
        ended: connections that the client closed or broke.
        may_answer: what ``answer_late`` waits for.
    """

    def __init__(self):
        self.script = []
        self.opened = 0
        self.seen = []
        self.ended = 0
        self.may_answer = asyncio.Event()
        self.tasks = set()

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.opened += 1
        handler = self.script.pop(0) if self.script else keep_answering
        try:
            await handler(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.ended += 1
        finally:
            writer.close()

    async def request(self, reader):
        """Read one request; return its header and body."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.seen.append(head.split(b"\r\n")[0].decode())
        return head, await reader.readexactly(length)


async def keep_answering(server, reader, writer):
    while True:
        await server.request(reader)
        writer.write(OK)


def answer_once(listening, is_over):
    """Answer one request, and keep the connection open until somebody says that it is over."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(OK)
        is_over.wait()


def after_request(*parts, then_close=True):
    """Answer one request with ``parts``, each in a packet of its own."""

    async def handler(server, reader, writer):
        await server.request(reader)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.005)
        if not then_close:
            await reader.readexactly(1)

    return handler


async def answer_once_then_drop(server, reader, writer):
    """Answer the first request; close on the second without a word, as a server that closes idle connections may."""
    await server.request(reader)
    writer.write(OK)
    await server.request(reader)


@contextlib.asynccontextmanager
async def serving(*script, host="127.0.0.1", tls=None):
    """Start a server; yields it with ``url``."""
    server = RawServer()
    server.script.extend(script)
    listener = await asyncio.start_server(server.serve, host, 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    server.url = f"{'https' if tls else 'http'}://{name}:{port}"
    try:
        yield server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def connected(*script, max_in_flight=64, **options):
    """Start a server and a transport to it."""
    async with serving(*script, **options) as server:
        transport = KubeTransport(KubeConfig(server=server.url), user_agent="tests", max_in_flight=max_in_flight)
        try:
            yield server, transport
        finally:
            await transport.close()


async def until(condition):
    """Wait until ``condition()`` holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine on a loop of its own kind."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


# -- framing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "body", "reused"),
    [
        ([bytes([byte]) for byte in OK], b"{}", True),
        ([CHUNKED, b"3\r\n{", b'"a\r\n2\r\n"', b":\r\n2\r\n1}\r\n0\r\n", b"X-Trailer: t\r\n\r\n"], b'{"a":1}', True),
        ([b"HTTP/1.1 200 OK\r\n\r\n{", b"}"], b"{}", False),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n", OK], b"{}", True),
        ([OK[:15], OK[15:] + b"HTTP/1.1 200 OK\r\n"], b"{}", False),
    ],
    ids=["byte by byte", "chunked", "until close", "interim", "too much"],
)
def test_answers_are_read_however_they_are_framed(run, parts, body, reused):
    """And the connection is used again where the framing allows it."""

    async def scenario():
        async def handler(server, reader, writer):
            await after_request(*parts)(server, reader, writer)
            if reused:
                await keep_answering(server, reader, writer)

        async with connected(handler) as (server, transport):
            assert await transport.send(GET) == body
            assert await transport.send(CREATE) == b"{}"
            assert server.opened == (1 if reused else 2)

    run(scenario())


def test_large_bodies_go_both_ways(run):
    """A megabyte up, sixteen down."""

    async def scenario():
        large = b"1" * (16 * 1024 * 1024)

        async def handler(server, reader, writer):
            _, body = await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) * 16) + body * 16)
            await writer.drain()

        async with connected(handler) as (_, transport):
            assert await transport.send(requests.create(EXECUTIONS, "ns", large[: 1024 * 1024])) == large

    run(scenario())


def test_an_answer_that_is_too_large_is_not_asked_for_again(run):
    """It would be as large the next time."""

    async def scenario():
        huge = b"HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n"
        async with connected(after_request(huge, then_close=False)) as (server, transport):
            with pytest.raises(errors.Unavailable, match="larger than"):
                await transport.send(GET)
            await until(lambda: server.ended == 1)
            assert server.opened == 1

    run(scenario())


@pytest.mark.parametrize(
    "parts",
    [[b"SSH-2.0-OpenSSH\r\n"], [OK[:20]], [OK[:-1]], [CHUNKED, b"5\r\nhel"], [CHUNKED, b"zz\r\n"], []],
    ids=["another protocol", "half a header", "half a body", "half a chunk", "a bad chunk", "nothing"],
)
def test_a_broken_answer_is_none(run, parts):
    """Reads are sent again; a create is not, for nobody knows whether it happened."""

    async def scenario():
        async with connected(after_request(*parts), after_request(*parts)) as (server, transport):
            assert await transport.send(GET, retry_for_s=20) == b"{}"
            assert server.opened == 3
        async with connected(after_request(*parts)) as (server, transport):
            with pytest.raises(errors.Unavailable, match="no answer"):
                await transport.send(CREATE)
            assert server.opened == 1

    run(scenario())


def test_a_refusal_before_the_whole_body_was_read_is_understood(run):
    """The connection, on which the rest still waits, is not used again."""

    async def scenario():
        async def refuse(server, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await asyncio.sleep(0.2)
            while await reader.read(65536):
                pass

        large = requests.create(EXECUTIONS, "ns", b"x" * (32 * 1024 * 1024))
        async with connected(refuse) as (server, transport):
            with pytest.raises(errors.TooLarge):
                await transport.send(large)
            await transport.send(GET)
            assert server.opened == 2

    run(scenario())


# -- keep-alive --------------------------------------------------------------------------------------------------


def test_an_idle_connection_that_was_closed_is_replaced(run):
    """Even for creates: nothing was sent on it."""

    async def scenario():
        async with connected(after_request(OK)) as (server, transport):
            await transport.send(GET)
            await until(lambda: all(task.done() for task in server.tasks))
            await until(lambda: not any(one.is_usable for one in transport._connections._idle))
            await transport.send(CREATE, retries=False)
            assert server.opened == 2

    run(scenario())


def test_a_connection_that_dies_under_a_request_is_replaced_where_repeating_is_safe(run):
    """The server closed the idle connection in the moment of sending. That is no try that failed."""

    async def scenario():
        async with connected(answer_once_then_drop) as (server, transport):
            await transport.send(GET)
            assert await transport.send(GET, retries=False) == b"{}"
            assert (server.opened, len(server.seen)) == (2, 3)
        async with connected(answer_once_then_drop) as (server, transport):
            await transport.send(GET)
            assert await transport.send(CREATE, retries=False, repeatable=True) == b"{}"
            assert server.opened == 2
        async with connected(answer_once_then_drop) as (server, transport):
            await transport.send(GET)
            with pytest.raises(errors.Unavailable):
                await transport.send(CREATE)
            assert (server.opened, len(server.seen)) == (1, 2)

    run(scenario())


def test_a_request_is_not_repeated_for_ever_by_the_pool(run):
    """A server that drops everything is reported after the second connection."""

    async def scenario():
        async with connected(answer_once_then_drop, after_request(), after_request()) as (server, transport):
            await transport.send(GET)
            with pytest.raises(errors.Unavailable):
                await transport.send(GET, retries=False)
            assert server.opened == 2

    run(scenario())


def test_bytes_that_nobody_asked_for_spoil_an_idle_connection(run):
    """They would be taken for the answer to the next request."""

    async def scenario():
        async def talk(server, reader, writer):
            await after_request(OK)(server, reader, writer)
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            await reader.readexactly(1)

        async with connected(talk) as (server, transport):
            await transport.send(GET)
            await until(lambda: server.ended == 1)
            assert await transport.send(GET) == b"{}"
            assert server.opened == 2

    run(scenario())


def test_a_hundred_requests_at_once_share_the_connections(run):
    """No more than may be in flight; every answer reaches its request; cancelled ones disturb nobody."""

    async def scenario():
        async def echo(server, reader, writer):
            while True:
                head, _ = await server.request(reader)
                await asyncio.sleep(0.001)
                target = b'"%b"' % head.split(b" ")[1]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

        def request(number):
            return requests.get(EXECUTIONS, "ns", f"x{number}")

        async with connected(*[echo] * 200, max_in_flight=8) as (server, transport):
            sent = [request(number) for number in range(100)]
            answers = await asyncio.gather(*(transport.send(each) for each in sent))
            assert answers == [f'"{each.target}"'.encode() for each in sent]
            assert server.opened <= 8
            tasks = [asyncio.ensure_future(transport.send(each)) for each in sent]
            await asyncio.sleep(0.005)
            for task in tasks[::3]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                if number % 3 or not isinstance(outcome, asyncio.CancelledError):
                    assert outcome == f'"{sent[number].target}"'.encode()

    run(scenario())


# -- time and cancellation ---------------------------------------------------------------------------------------


async def answer_late(server, reader, writer):
    await server.request(reader)
    await server.may_answer.wait()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    await reader.readexactly(1)


def test_a_connection_with_an_unanswered_request_is_closed(run):
    """The late answer must not be taken for that of the next request."""

    async def scenario():
        async with connected(answer_late) as (server, transport):
            with pytest.raises(errors.Unavailable, match="took too long"):
                await transport.send(GET, retries=False, timeout_s=0.5)
            server.may_answer.set()
            assert await transport.send(GET) == b"{}"
            await until(lambda: server.ended == 1)

    run(scenario())


def test_a_cancelled_request_closes_its_connection(run):
    """And the cancellation comes out, whenever it struck; the slot is free again."""

    async def scenario():
        async with connected(after_request(then_close=False), max_in_flight=1) as (server, transport):
            sending = asyncio.ensure_future(transport.send(GET))
            await until(lambda: server.seen)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert await transport.send(GET) == b"{}"
            await until(lambda: server.ended == 1)
            for turns in range(12):
                sending = asyncio.ensure_future(transport.send(GET))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if sending.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await sending
            assert await transport.send(GET) == b"{}"

    run(scenario())


def test_a_handshake_that_hangs_is_no_connection(run):
    """So that even a create may be tried again: nothing was sent."""

    async def scenario():
        async def mute(_, reader, __):
            while await reader.read(65536):
                pass

        async with serving(mute) as server:
            address = server.url.replace("http:", "https:")
            transport = KubeTransport(KubeConfig(server=address), user_agent="tests")
            with pytest.raises(errors.Unavailable) as caught:
                await transport.send(CREATE, retries=False, timeout_s=0.2)
            assert caught.value.reason == "NotSent"
            await transport.close()

    run(scenario())


def test_closing_fails_what_is_in_flight(run):
    """Requests and streams; it is not retried, and later ones fail the same way."""

    async def scenario():
        async with connected(*[after_request(then_close=False)] * 2) as (server, transport):
            sending = asyncio.ensure_future(transport.send(GET))
            watching = asyncio.ensure_future(anext(transport.stream(GET)))
            await until(lambda: len(server.seen) == 2)
            await transport.close()
            for waiting in (sending, watching):
                with pytest.raises(errors.Unavailable):
                    await waiting
            with pytest.raises(errors.Unavailable, match="closed"):
                await transport.send(GET)
            await until(lambda: server.ended == 2)

    run(scenario())


# -- streams -----------------------------------------------------------------------------------------------------


def test_a_slow_reader_slows_the_server_down(run):
    """Instead of filling memory; every line arrives in the end."""

    async def scenario():
        line = b"x" * 65535 + b"\n"
        written = 0

        async def flood(server, reader, writer):
            nonlocal written
            await server.request(reader)
            writer.write(CHUNKED)
            for _ in range(1000):
                writer.write(b"%x\r\n%b\r\n" % (len(line), line))
                await writer.drain()
                written += 1
            writer.write(b"0\r\n\r\n")

        async with connected(flood) as (_, transport):
            watch = transport.stream(GET)
            lines = 0
            async for each in watch:
                assert each == line[:-1]
                lines += 1
                if lines == 1:
                    await asyncio.sleep(0.5)
                    assert written < 500
            assert lines == 1000

    run(scenario())


def test_a_stream_that_is_left_early_is_closed(run):
    """By ``aclose``, and by the cancellation of its reader."""

    async def scenario():
        endless = after_request(CHUNKED, b"3\r\n{}\n\r\n", then_close=False)
        async with connected(endless, endless) as (server, transport):
            watch = transport.stream(GET)
            assert await anext(watch) == b"{}"
            await watch.aclose()
            await until(lambda: server.ended == 1)

            async def follow():
                async with contextlib.aclosing(transport.stream(GET)) as lines:
                    async for _ in lines:
                        pass

            following = asyncio.ensure_future(follow())
            await until(lambda: len(server.seen) == 2)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following
            await until(lambda: server.ended == 2)

    run(scenario())


def test_a_stream_of_a_transport_that_is_closed_says_so(run):
    """Whoever reads it is not to take the server for one that is away, and ask again."""

    async def scenario():
        endless = after_request(CHUNKED, b"3\r\n{}\n\r\n", then_close=False)
        async with connected(endless) as (_, transport):
            watch = transport.stream(GET)
            assert await anext(watch) == b"{}"
            reading = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await transport.close()
            with pytest.raises(errors.Unavailable, match="this client is closed: make another one"):
                await reading

    run(scenario())


def test_what_a_stream_brought_before_it_was_cut_is_delivered(run):
    """Then the cut is told; a stream never takes a connection of the requests."""

    async def scenario():
        async def handler(server, reader, writer):
            await server.request(reader)
            writer.write(CHUNKED + b"6\r\n{}\n{}\n\r\n")

        async with connected(keep_answering, handler) as (server, transport):
            await transport.send(GET)
            watch = transport.stream(GET)
            assert [await anext(watch), await anext(watch)] == [b"{}", b"{}"]
            with pytest.raises(errors.Unavailable, match="in the middle"):
                await anext(watch)
            assert server.opened == 2
            await transport.send(GET)
            assert server.opened == 2

    run(scenario())


# -- addresses and TLS -------------------------------------------------------------------------------------------


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on loopback")
def test_ipv6_addresses(run):
    """In brackets in the Host header."""

    async def scenario():
        heads = []

        async def handler(server, reader, writer):
            heads.append((await server.request(reader))[0])
            writer.write(OK)

        async with connected(handler, host="::1") as (server, transport):
            await transport.send(GET)
            host = server.url.removeprefix("http://")
            assert f"Host: {host}\r\n".encode() in heads[0]

    run(scenario())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority of its own with a certificate for ``kube.test`` and 127.0.0.1: PEM texts and the folder."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=DNS:kube.test,IP:127.0.0.1"
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("server", "client"):
        files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"]
        subprocess.run([*new, *files, "-subj", f"/CN={name}", "-addext", names], check=True, capture_output=True)
    return folder


def _server_tls(folder, *, wants_client):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "client.crt")
    return context


async def _send_over_tls(folder, *, wants_client=False, retries=False, **config):
    async with serving(tls=_server_tls(folder, wants_client=wants_client)) as server:
        transport = KubeTransport(KubeConfig(server=server.url, **config), user_agent="tests")
        try:
            await transport.send(GET, retries=retries)
            await transport.send(CREATE, retries=retries)
            assert server.opened == 1
        finally:
            await transport.close()


def test_tls_with_the_cluster_authority(run, certificates):
    """By address, by another name in the certificate, and unchecked where the kubeconfig says so."""
    ca_data = (certificates / "server.crt").read_text()
    run(_send_over_tls(certificates, ca_data=ca_data))
    run(_send_over_tls(certificates, ca_data=ca_data, tls_server_name="kube.test"))
    run(_send_over_tls(certificates, insecure=True))


def test_tls_with_a_client_certificate(run, certificates):
    """The server lets only its holder in."""
    cert, key = ((certificates / f"client.{end}").read_text() for end in ("crt", "key"))
    run(_send_over_tls(certificates, wants_client=True, insecure=True, client_cert_data=cert, client_key_data=key))


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_tls_to_another_server_sends_nothing(run, certificates, wrong):
    """Not even the header with the token; and it is not tried again, as it would not help."""

    async def scenario():
        ca_data = (certificates / ("client.crt" if wrong == "authority" else "server.crt")).read_text()
        name = "other.test" if wrong == "name" else ""
        with pytest.raises(errors.Unavailable, match="certificate verify failed") as caught:
            await _send_over_tls(certificates, ca_data=ca_data, tls_server_name=name, retries=True)
        assert caught.value.reason == "NotTrusted"
        assert "the address or the authority is wrong" in str(caught.value)

    run(scenario())


def test_a_stream_over_tls(run, certificates):
    """Lines come as they are sent, and leaving early closes the connection."""

    async def scenario():
        endless = after_request(CHUNKED, b"3\r\n{}\n\r\n", then_close=False)
        async with serving(endless, tls=_server_tls(certificates, wants_client=False)) as server:
            transport = KubeTransport(KubeConfig(server=server.url, insecure=True), user_agent="tests")
            watch = transport.stream(GET)
            assert await anext(watch) == b"{}"
            await watch.aclose()
            await until(lambda: server.ended == 1)
            await transport.close()

    run(scenario())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the first loop went without closing its connection
def test_another_event_loop_is_refused_with_the_remedy():
    """As by a second asyncio.run(): every time, and closing still works."""
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(answer_once, listening, is_over)
        server = f"http://127.0.0.1:{listening.getsockname()[1]}"
        transport = KubeTransport(KubeConfig(server=server), user_agent="tests")
        try:
            assert asyncio.run(transport.send(GET)) == b"{}"
            refusals = [outcome_elsewhere(transport.send(GET)) for _ in range(2)]
            closing = outcome_elsewhere(transport.close())
        finally:
            is_over.set()
    del transport
    gc.collect()
    assert [kind for kind, _ in refusals] == [errors.InvalidState] * 2
    assert all("another event loop" in text and "SyncClient" in text for _, text in refusals)
    assert closing == (None, "")


def outcome_elsewhere(work):
    """Run it on a loop of its own; return class and text of its error, without the frames that it would hold."""
    try:
        asyncio.run(work)
    except Exception as error:
        return type(error), str(error)
    return None, ""
