"""The transport over real sockets, against a server that answers as told."""

import asyncio
import socket
import time
from collections import deque

import pytest
from aiohttp import web

from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.config import KubeConfig
from kontinue.kube.http import SAY_AFTER, KubeTransport
from kontinue.kube.requests import EVENTS, EXECUTIONS, LEASES

GET = requests.get(EXECUTIONS, "ns", "x")
CREATE = requests.create(EXECUTIONS, "ns", b'{"a":1}')


class ScriptedServer:
    """Answers with the next script entry, a coroutine function of the request; then with 200 and the request's body."""

    def __init__(self):
        self.script = deque()
        self.seen = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.connections = set()

    async def handle(self, request):
        body = await request.read()
        self.seen.append((request.method, request.raw_path, request.headers, body))
        self.connections.add(request.transport)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.script:
                return await self.script.popleft()(request)
            return web.Response(body=body or b"{}")
        finally:
            self.in_flight -= 1


def answer(status, body=b"{}", **headers):
    async def respond(_):
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return respond


async def cut(request):
    request.transport.abort()
    return web.Response()


def lines(*chunks, then=None):
    async def respond(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if then is not None:
            await then(request)
        return response

    return respond


@pytest.fixture
async def server():
    """A scripted server; ``url`` is its address."""
    scripted = ScriptedServer()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def transport(server):
    """A transport to the scripted server."""
    subject = KubeTransport(KubeConfig(server=server.url, token="secret"), user_agent="tests")
    yield subject
    await subject.close()


async def test_requests_arrive_as_they_were_built(server, transport):
    """Method, encoded target, body and headers; nothing is decoded or added on the way."""
    listing = requests.list_objects(EXECUTIONS, "ns", field_selector="a!=b,c=d")
    await transport.send(listing)
    assert await transport.send(CREATE) == b'{"a":1}'
    (method, target, headers, _), (_, _, posted, body) = server.seen
    assert (method, target) == ("GET", listing.target)
    assert (headers["Authorization"], headers["User-Agent"], headers["Accept"]) == (
        "Bearer secret",
        "tests",
        "application/json",
    )
    assert "Content-Type" not in headers
    assert (posted["Content-Type"], body) == ("application/json", b'{"a":1}')


async def test_a_path_in_the_server_address_is_kept(server):
    """For example of a proxy such as Rancher's."""
    subject = KubeTransport(KubeConfig(server=f"{server.url}/k8s/clusters/c1/"), user_agent="tests")
    await subject.send(GET)
    await subject.close()
    assert server.seen[0][1] == f"/k8s/clusters/c1{GET.path}"


async def test_connections_are_reused(server, transport):
    """A hundred requests one after another need one connection."""
    for _ in range(100):
        await transport.send(GET)
    assert len(server.connections) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_answers_that_pass_are_retried(server, transport, status):
    """Until one succeeds."""
    server.script.extend([answer(status), answer(status)])
    assert await transport.send(GET) == b"{}"
    assert len(server.seen) == 3


async def test_a_request_that_keeps_failing_is_told_once(server, transport, caplog, monkeypatch):
    """Retries have no end for a worker: its log says what it waits for. A command line says so when it gives up."""
    caplog.set_level("INFO", "kontinue.kube.http")
    monkeypatch.setattr("kontinue.kube.http.Backoff", lambda: Backoff(first_s=0.001))
    server.script.extend([answer(500, b'{"message":"disk full"}')] * (SAY_AFTER + 2))
    await transport.send(GET)
    (line,) = caplog.messages
    assert line.startswith(f"GET {GET.path}")
    assert "disk full" in line


async def test_cut_connections_are_retried(server, transport):
    """PUT with a precondition may be sent twice; the caller recognises its own write."""
    server.script.extend([cut, cut])
    await transport.send(requests.replace(LEASES, "ns", "x", b"{}"))
    assert len(server.seen) >= 3


async def test_a_success_that_is_none_is_asked_for_again(server, transport):
    """A login page, and an answer that was cut with its length made right; a create is repeated where that is safe."""
    server.script.extend([answer(200, b"<html>Log in</html>"), answer(200, b'{"metadata":{"na')])
    assert await transport.send(GET) == b"{}"
    assert len(server.seen) == 3
    server.script.append(answer(201, b"<html>"))
    with pytest.raises(errors.Unavailable, match=r"POST .*: the answer is no JSON, so .*proxy.*<html>"):
        await transport.send(CREATE)
    server.script.append(answer(201, b"<html>"))
    assert await transport.send(CREATE, repeatable=True) == CREATE.body


async def test_what_is_no_json_may_be_asked_for(server, transport):
    """Metrics, logs and the like."""
    server.script.append(answer(200, b"ok"))
    assert await transport.send(requests.Request("GET", "/healthz", accept="*/*")) == b"ok"


async def test_a_watch_that_does_not_begin_is_noticed(server, transport, monkeypatch):
    """A server answers with the header at once; what takes the request and says nothing is something else."""
    monkeypatch.setattr("kontinue.kube.http.REQUEST_S", 0.5)

    async def stay(_):
        await asyncio.sleep(30)

    server.script.append(stay)
    with pytest.raises(errors.Unavailable, match="it took too long"):
        _ = [line async for line in transport.stream(GET)]
    monkeypatch.setattr("kontinue.kube.http.REQUEST_S", 3.0)
    server.script.append(lines(b"{}\n", then=lambda _: asyncio.sleep(3.3)))
    assert [line async for line in transport.stream(GET)] == [b"{}"]


async def test_retry_after_is_obeyed(server, transport):
    """The server says how long."""
    server.script.append(answer(429, Retry_After="0.3"))
    started = time.monotonic()
    await transport.send(GET)
    assert 0.3 <= time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"reason":"NotFound"}', errors.NotFound),
        (409, b'{"reason":"Conflict"}', errors.Conflict),
        (413, b"", errors.TooLarge),
        (500, b'{"message":"etcdserver: request is too large"}', errors.TooLarge),
        (501, b'{"reason":"NotImplemented"}', errors.Unavailable),
        (302, b"", errors.ApiError),
    ],
)
async def test_other_refusals_are_raised_at_once(server, transport, status, body, kind):
    """A retry would not help. Redirects are not followed: they would lose the token or the method."""
    server.script.append(answer(status, body, Location="/elsewhere"))
    with pytest.raises(kind):
        await transport.send(GET)
    assert len(server.seen) == 1


async def test_a_create_is_repeated_only_where_that_is_safe(server, transport):
    """After a cut nobody knows whether it happened; 429 says that it did not."""
    server.script.append(answer(503))
    with pytest.raises(errors.Unavailable):
        await transport.send(CREATE)
    server.script.append(answer(429))
    await transport.send(CREATE)
    server.script.append(answer(503))
    await transport.send(CREATE, repeatable=True)
    assert len(server.seen) == 5


async def test_a_refused_connection_is_retried_even_for_creates(unused_tcp_port):
    """Nothing was sent; the server may be about to start."""
    subject = KubeTransport(KubeConfig(server=f"http://127.0.0.1:{unused_tcp_port}"), user_agent="tests")
    with pytest.raises(errors.Unavailable, match=r"POST /apis/.*: no answer"):
        await subject.send(CREATE, retry_for_s=0.3)
    await subject.close()


async def test_every_try_of_a_write_asks_whether_it_may_be_made_and_no_read_does(server):
    """Who must not write any more does not go on with what it began before; looking is always allowed."""
    asked = asyncio.Queue()
    may_write = asyncio.Event()

    async def ask():
        asked.put_nowait(len(server.seen))
        await may_write.wait()

    transport = KubeTransport(KubeConfig(server=server.url), user_agent="test", before_write=ask)
    server.script += [answer(503), answer(200)]
    may_write.set()
    writing = asyncio.ensure_future(transport.send(requests.delete(LEASES, "ns", "x")))
    assert await asked.get() == 0
    may_write.clear()
    assert await asked.get() == 1
    await transport.send(GET)
    assert [method for method, *_ in server.seen] == ["DELETE", "GET"]
    may_write.set()
    await writing
    assert [method for method, *_ in server.seen] == ["DELETE", "GET", "DELETE"]
    assert asked.empty()
    await transport.close()


async def test_retries_end_with_their_time(server, transport):
    """The last error is raised."""
    server.script.extend([answer(503, b'{"message":"not ready"}')] * 100)
    with pytest.raises(errors.Unavailable, match="not ready"):
        await transport.send(GET, retry_for_s=0.3)
    server.script.clear()
    server.script.append(answer(503))
    with pytest.raises(errors.Unavailable):
        await transport.send(GET, retries=False)


async def test_a_try_has_a_limit_of_time(server, transport):
    """A server that hangs is no answer."""

    async def hang(_):
        await asyncio.sleep(30)

    server.script.append(hang)
    with pytest.raises(errors.Unavailable, match="no answer"):
        await transport.send(GET, retries=False, timeout_s=0.1)


async def test_requests_in_flight_are_limited_and_watches_not_counted(server):
    """The rest wait for a slot."""
    subject = KubeTransport(KubeConfig(server=server.url), user_agent="tests", max_in_flight=4)

    is_full = asyncio.Event()

    async def slow(_):
        if server.in_flight == 6 + 4:
            is_full.set()
        await is_full.wait()
        await asyncio.sleep(0.01)  # for one that is too many
        return web.Response()

    async def stay(_):
        await asyncio.sleep(30)

    watches = []
    for _ in range(6):
        server.script.append(lines(b"{}\n", then=stay))
        watches.append(subject.stream(requests.watch(EVENTS, "ns", resource_version="1")))
        await anext(watches[-1])
    open_watches = server.in_flight
    assert open_watches == 6
    server.script.extend([slow] * 20)
    server.most_in_flight = 0
    await asyncio.gather(*(subject.send(GET) for _ in range(20)))
    assert server.most_in_flight - open_watches == 4
    for watch in watches:
        await watch.aclose()
    await subject.close()


async def test_a_watch_yields_its_lines_however_they_are_cut(server, transport):
    """And ends when the server ends it."""
    server.script.append(lines(b'{"a":', b"1}\n{", b'"b":2}\n\n{"c":3}\n'))
    watch = transport.stream(requests.watch(EVENTS, "ns", resource_version="1"))
    assert [line async for line in watch] == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


async def test_a_watch_takes_lines_of_megabytes(server, transport):
    """An object may have 1.5 MiB."""
    long = b"x" * (2 * 1024 * 1024)
    server.script.append(lines(long + b"\n"))
    assert [line async for line in transport.stream(GET)] == [long]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer(410, b'{"reason":"Expired"}'), errors.Gone),
        (answer(403, b'{"reason":"Forbidden"}'), errors.Forbidden),
        (lines(b"{}\n", then=cut), errors.Unavailable),
    ],
    ids=["too old", "forbidden", "cut"],
)
async def test_a_watch_that_fails_says_how(server, transport, script, kind):
    """Before the first line, or in the middle."""
    server.script.append(script)
    with pytest.raises(kind):
        _ = [line async for line in transport.stream(GET)]


async def test_a_watch_may_have_a_limit_of_time(server, transport):
    """A connection that died silently does not blind its reader for ever."""

    async def stay(_):
        await asyncio.sleep(30)

    server.script.append(lines(b"{}\n", then=stay))
    with pytest.raises(errors.Unavailable):
        _ = [line async for line in transport.stream(GET, timeout_s=0.2)]


async def test_cancellation_is_not_swallowed(server, transport):
    """Neither while sending nor while backing off."""
    server.script.extend([answer(503)] * 100)
    sending = asyncio.ensure_future(transport.send(GET))
    await asyncio.sleep(0.1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_token_that_ran_out_is_renewed_once(server):
    """After a 401 the source is asked again; a second 401 is raised."""
    tokens = deque(["new", "newest"])
    config = KubeConfig(server=server.url, token="old", token_source=tokens.popleft)
    subject = KubeTransport(config, user_agent="tests")
    server.script.append(answer(401))
    await subject.send(GET)
    assert [headers["Authorization"] for _, _, headers, _ in server.seen] == ["Bearer old", "Bearer new"]
    server.script.extend([answer(401), answer(401)])
    with pytest.raises(errors.Unauthorized):
        await subject.send(GET)
    await subject.close()


async def test_a_server_that_takes_connections_and_says_nothing_is_told_so():
    """Without a certificate there is no connection: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        subject = KubeTransport(KubeConfig(server=f"https://127.0.0.1:{port}", insecure=True), user_agent="tests")
        with pytest.raises(
            errors.Unavailable, match=rf"no answer from the API server: 127.0.0.1:{port}: no connection in"
        ):
            await subject.send(GET, retries=False, timeout_s=0.05)
        await subject.close()


async def test_impersonation_is_a_header(server):
    """The server decides whether it is allowed."""
    subject = KubeTransport(KubeConfig(server=server.url), user_agent="tests", impersonate="ada")
    await subject.send(GET)
    await subject.close()
    assert server.seen[0][2]["Impersonate-User"] == "ada"


async def test_who_acts_as_somebody_else_by_configuration_does_so_in_each_request(server):
    """Several groups are several lines. A user that a program names takes the place of all of it, as in kubectl."""
    asked = (("Impersonate-User", "bob"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    config = KubeConfig(server=server.url, impersonation=asked)
    for impersonate in ("", "ada"):
        subject = KubeTransport(config, user_agent="tests", impersonate=impersonate)
        await subject.send(GET)
        await subject.close()
    sent = [[one for one in headers.items() if "Impersonate" in one[0]] for _, _, headers, _ in server.seen]
    assert sent == [list(asked), [("Impersonate-User", "ada")]]
