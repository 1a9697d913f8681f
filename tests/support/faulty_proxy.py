"""A proxy between a client and an API server that loses, delays, repeats, cuts and garbles, by a seed.

It knows HTTP/1.1 as far as our client speaks it. What befalls the n-th request of a kind (a method and a resource)
follows from the seed alone, however the kinds are interleaved; so a seed means the same faults every time.
"""

from __future__ import annotations

import asyncio
import enum
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, NamedTuple, TypeVar, cast

import aiohttp

from api_server import ApiServer

GENERATED = re.compile(r"/(namespaces|executions|functions|suspensions|scheduledexecutions|jobs)/[^/?]+")


class Fault(enum.Enum):
    """What happens to a request."""

    NONE = "none"
    LOST_REQUEST = "the server never sees it, and the connection breaks"
    LOST_ANSWER = "the connection breaks before the answer"
    DELAYED = "the answer comes late"
    SILENT = "the server sees it, and nobody answers"
    TWICE = "the server sees it twice; the second answer counts"
    TWICE_FIRST = "the server sees it twice; the first answer counts"
    CUT = "the answer breaks off"
    SHORT = "the answer is cut, and its length made right"
    GARBLED = "a piece of the answer is overwritten"
    NO_HTTP = "the answer is none"
    PAGE = "a page of HTML with status 200"
    BAD_GATEWAY = "a page of HTML with status 502"
    BUSY = "429"


FATES: Mapping[Fault, int] = {
    Fault.NONE: 50,
    Fault.LOST_REQUEST: 5,
    Fault.LOST_ANSWER: 8,
    Fault.DELAYED: 5,
    Fault.SILENT: 1,
    Fault.TWICE: 6,
    Fault.TWICE_FIRST: 4,
    Fault.CUT: 5,
    Fault.SHORT: 4,
    Fault.GARBLED: 4,
    Fault.NO_HTTP: 2,
    Fault.PAGE: 2,
    Fault.BAD_GATEWAY: 2,
    Fault.BUSY: 2,
}
PAGE = b"<html><body>Please log in</body></html>"


class Message(NamedTuple):
    """A request: its first line in parts, its headers, its body."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_watch(self) -> bool:
        return "watch=true" in self.target

    @property
    def kind(self) -> str:
        """What requests are counted by: names that a client makes up are left out."""
        path = GENERATED.sub(r"/\1", self.target.partition("?")[0])
        return f"{'WATCH' if self.is_watch else self.method} {path}"


class FaultyProxy:
    """Passes requests on to an API server, more or less.

    Attributes:
        seed: of what happens.
        url: where it listens.
        done: what happened, how often.
        late_s: how late a delayed answer is.
    """

    def __init__(self, seed: str, upstream: aiohttp.ClientSession, *, late_s: float) -> None:
        self.seed = seed
        self.url = ""
        self.done: Counter[Fault] = Counter()
        self.late_s = late_s
        self.asking: set[asyncio.Task[bytes]] = set()
        """Requests that the server has not answered yet."""
        self._upstream = upstream
        self._seen: Counter[str] = Counter()

    def fault_of(self, asked: Message, chance: Random) -> Fault:
        """Return what befalls a request."""
        del asked
        (fault,) = chance.choices(list(FATES), FATES.values())
        return fault

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._answer(await read_message(reader), reader, writer):
                pass
        writer.transport.abort()

    async def _answer(self, asked: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Return whether the connection may be used again."""
        number = self._seen[asked.kind]
        self._seen[asked.kind] += 1
        chance = Random(f"{self.seed} {asked.kind} {number}")
        fault = self.fault_of(asked, chance)
        self.done[fault] += 1
        if asked.is_watch:
            if fault is Fault.SILENT:
                await reader.read()  # until the client has gone
            else:
                await self._watch(asked, fault, chance, writer)
            return False
        match fault:
            case Fault.LOST_REQUEST:
                return False
            case Fault.PAGE | Fault.BAD_GATEWAY:
                await self._ask(asked)
                writer.write(answer(200 if fault is Fault.PAGE else 502, PAGE))
                return True
            case Fault.BUSY:
                writer.write(answer(429, b'{"kind":"Status","code":429,"reason":"TooManyRequests","message":"busy"}'))
                return True
            case _:
                pass
        first = await self._ask(asked)
        second = await self._ask(asked) if fault in {Fault.TWICE, Fault.TWICE_FIRST} else first
        match fault:
            case Fault.SILENT:
                await reader.read()  # until the client has gone
                return False
            case Fault.LOST_ANSWER:
                return False
            case Fault.NO_HTTP:
                writer.write(b"\x16\x03\x01 what?\r\n\r\n")
                return False
            case Fault.CUT:
                writer.write(first[: chance.randrange(len(first))])
                await writer.drain()
                return False
            case Fault.DELAYED:
                await asyncio.sleep(self.late_s * chance.random())
            case _:
                pass
        writer.write(spoilt(second if fault is Fault.TWICE else first, fault, chance))
        await writer.drain()
        return True

    async def _ask(self, asked: Message) -> bytes:
        """Return the server's answer as it goes over the wire; it is waited for whether or not somebody wants it."""
        task = asyncio.create_task(self._fetch(asked))
        self.asking.add(task)
        task.add_done_callback(self.asking.discard)
        return await asyncio.shield(task)

    async def _fetch(self, asked: Message) -> bytes:
        async with self._upstream.request(
            asked.method, asked.target, data=asked.body or None, headers=asked.headers
        ) as response:
            return answer(response.status, await response.read(), response.headers.get("Retry-After", ""))

    async def _watch(self, asked: Message, fault: Fault, chance: Random, writer: asyncio.StreamWriter) -> None:
        """Pass a watch on, line by line, until it ends or the fault strikes."""
        if fault in {Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.BAD_GATEWAY, Fault.BUSY}:
            writer.write(answer(429 if fault is Fault.BUSY else 502, PAGE))
            return
        opening = asyncio.ensure_future(self._open(asked))
        try:
            response = await asyncio.shield(opening)
        except asyncio.CancelledError:
            abort(await opening)
            raise
        try:
            await self._pass_on(response, fault, chance, writer)
        finally:
            abort(response)

    async def _open(self, asked: Message) -> aiohttp.ClientResponse:
        return await self._upstream.request(asked.method, asked.target, headers=asked.headers)

    async def _pass_on(
        self, response: aiohttp.ClientResponse, fault: Fault, chance: Random, writer: asyncio.StreamWriter
    ) -> None:
        strikes_at = chance.randrange(4)
        if response.status != 200:
            writer.write(answer(response.status, await response.read()))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        number = 0
        async for line in response.content:
            sent = line
            if number == strikes_at:
                match fault:
                    case Fault.CUT | Fault.SHORT:
                        writer.write(chunk(line[: len(line) // 2]))
                        return
                    case Fault.GARBLED | Fault.NO_HTTP:
                        sent = garbled(line[:-1], chance) + b"\n"
                    case Fault.PAGE:
                        sent = PAGE + b"\n"
                    case Fault.TWICE | Fault.TWICE_FIRST:
                        sent = line + line
                    case Fault.DELAYED:
                        await asyncio.sleep(self.late_s)
                    case _:
                        pass
            writer.write(chunk(sent))
            await writer.drain()
            number += 1
        writer.write(chunk(b""))


def abort(response: aiohttp.ClientResponse) -> None:
    """Leave an answer before its end: an orderly end of TLS would outlast the event loop of a test."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()
    response.close()


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read one request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.pop("Content-Length", "0")))
    headers.pop("Host")
    return Message(method, target, headers, body)


def answer(status: int, body: bytes, retry_after: str = "") -> bytes:
    """Return an answer as it goes over the wire."""
    more = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    return f"HTTP/1.1 {status} Status\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def chunk(data: bytes) -> bytes:
    """Return a piece of a chunked body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def spoilt(whole: bytes, fault: Fault, chance: Random) -> bytes:
    """Return an answer with another body, if that is the fault."""
    head, _, body = whole.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    if fault is Fault.SHORT:
        return answer(status, body[: chance.randrange(len(body))])
    if fault is Fault.GARBLED:
        return answer(status, garbled(body, chance))
    return whole


def garbled(text: bytes, chance: Random) -> bytes:
    """Overwrite a piece. It is no text any more: what still looks like JSON only TLS could tell from the truth."""
    at = chance.randrange(len(text))
    noise = b"\0" * min(chance.randint(1, 40), len(text) - at)
    return text[:at] + noise + text[at + len(noise) :]


class SilentProxy(FaultyProxy):
    """Passes on everything; what ``is_silent`` tells of is carried out, and not answered."""

    is_silent: Callable[[Message], bool] = staticmethod(lambda _: False)

    def fault_of(self, asked: Message, chance: Random) -> Fault:
        """Return whether a request is answered."""
        del chance
        return Fault.SILENT if self.is_silent(asked) else Fault.NONE


ProxyT = TypeVar("ProxyT", bound=FaultyProxy)


@asynccontextmanager
async def silent_proxy(server: ApiServer) -> AsyncIterator[SilentProxy]:
    """Stand between a client and an API server, and fall silent when told."""
    async with _standing(server, lambda upstream: SilentProxy("", upstream, late_s=0)) as proxy:
        yield proxy


@asynccontextmanager
async def faulty_proxy(server: ApiServer, seed: str, *, late_s: float) -> AsyncIterator[FaultyProxy]:
    """Stand between a client and an API server."""
    async with _standing(server, lambda upstream: FaultyProxy(seed, upstream, late_s=late_s)) as proxy:
        yield proxy


@asynccontextmanager
async def _standing(server: ApiServer, make: Callable[[aiohttp.ClientSession], ProxyT]) -> AsyncIterator[ProxyT]:
    context: Any = ssl.create_default_context(cafile=str(server.ca_file)) if server.ca_file else True
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        server.url, connector=connector, timeout=timeout, read_bufsize=2**22, auto_decompress=False
    ) as upstream:
        proxy = make(upstream)
        connections: set[asyncio.Task[None]] = set()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(this := cast("asyncio.Task[None]", asyncio.current_task()))
            try:
                with suppress(asyncio.CancelledError):
                    await proxy.serve(reader, writer)
            finally:
                connections.discard(this)
                writer.close()

        listening = await asyncio.start_server(connect, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            listening.close()
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections)
            await asyncio.gather(*proxy.asking, return_exceptions=True)
