"""The network between replicas and the API server: delays, losses and refusals, below the product's own transport.

``SimulatedConnections`` stands in for ``kontinue.kube._connections.Connections``: everything above the socket, retries
and errors included, is the product's. What is lost may have been acted on, and what is late may still arrive.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Any

from server import Answer, Server, Watch
from timeline import ProcessLoop, Timeline

from kontinue.kube._connections import ConnectError
from kontinue.kube._response import Response

EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'


@dataclasses.dataclass
class Weather:
    """How the network and the server behave at the moment: probabilities, and seconds.

    Attributes:
        lost_answers: acted on, and the client is not told.
        lost_requests: not acted on.
        late: it is lost for the client, and arrives up to ``LATE_S`` later.
        busy: refused with 429 and Retry-After.
        failing: refused with 500 or 503.
        slow_s: mean delay of a request and of an answer.
        watch_lag_s: mean delay of a watch event.
        is_down: the server does not run.
    """

    lost_answers: float = 0.0
    lost_requests: float = 0.0
    late: float = 0.0
    busy: float = 0.0
    failing: float = 0.0
    slow_s: float = 0.002
    watch_lag_s: float = 0.005
    is_down: bool = False


class Network:
    """Carries requests, and watch events one way.

    Attributes:
        weather: what it is like now.
        cut: processes that reach nobody: value is whether they are refused, instead of being left to wait.
    """

    LATE_S = 60.0

    def __init__(self, timeline: Timeline, server: Server, rng: random.Random) -> None:
        self.weather = Weather()
        self.cut: dict[Any, bool] = {}
        self.requests = 0
        self._timeline = timeline
        self._server = server
        self._rng = rng
        self._streams: dict[SimulatedStream, None] = {}

    def delay_s(self) -> float:
        return self._rng.expovariate(1 / self.weather.slow_s)

    def ask(self, loop: ProcessLoop, data: bytes, answer: asyncio.Future[Response]) -> None:
        """Send a request; the future gets the response, an error, or nothing."""
        self.requests += 1
        weather, rng = self.weather, self._rng
        if self.cut.get(loop.process) or (weather.is_down and rng.random() < 0.7):
            self._timeline.after(self.delay_s(), self._fail, loop, answer, ConnectError("refused"))
            return
        if loop.process in self.cut or weather.is_down:
            if rng.random() < 0.3:  # sent again by TCP when the way is free
                self._timeline.after(rng.uniform(0, self.LATE_S), self._arrive, loop, data, None)
            return
        if rng.random() < weather.late:
            self._timeline.after(rng.uniform(0, self.LATE_S), self._arrive, loop, data, None)
            if rng.random() < 0.5:
                self._timeline.after(self.delay_s(), self._fail, loop, answer, ConnectionResetError("cut"))
            return
        self._timeline.after(self.delay_s(), self._arrive, loop, data, answer)

    def _arrive(self, loop: ProcessLoop, data: bytes, answer: asyncio.Future[Response] | None) -> None:
        weather, rng = self.weather, self._rng
        if weather.is_down or rng.random() < weather.lost_requests:
            self._lose(loop, answer)
            return
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        if rng.random() < weather.busy:
            self._reply(loop, answer, Response(429, b"{}", rng.choice(["1", "1", "3"])))
            return
        if rng.random() < weather.failing:
            self._reply(loop, answer, Response(rng.choice([500, 503]), b"{}", ""))
            return
        content_type = headers.get("Content-Type", "")
        done = self._server.handle(method, target, headers["Accept"], content_type, body, loop.process)
        if rng.random() < weather.lost_answers:
            self._lose(loop, answer)
        else:
            self._reply(loop, answer, Response(done.status, done.body, ""))

    def _lose(self, loop: ProcessLoop, answer: asyncio.Future[Response] | None) -> None:
        """Half of what gets lost is noticed at once, the rest when its time is over."""
        if answer is not None and self._rng.random() < 0.5:
            self._timeline.after(self.delay_s(), self._fail, loop, answer, ConnectionResetError("cut"))

    def _reply(self, loop: ProcessLoop, answer: asyncio.Future[Response] | None, response: Response) -> None:
        if answer is not None and loop.process not in self.cut:
            self._timeline.after(self.delay_s(), loop.deliver, _set_result, answer, response)

    def _fail(self, loop: ProcessLoop, answer: asyncio.Future[Response], error: Exception) -> None:
        loop.deliver(_set_exception, answer, error)

    # Watches.

    def open(self, stream: SimulatedStream, data: bytes, answer: asyncio.Future[int]) -> None:
        loop = stream.loop
        self.requests += 1
        if loop.process in self.cut or self.weather.is_down:
            self._timeline.after(self.delay_s(), self._fail, loop, answer, ConnectionResetError("cut"))
            return
        self._timeline.after(self.delay_s(), self._start, stream, data, answer)

    def _start(self, stream: SimulatedStream, data: bytes, answer: asyncio.Future[int]) -> None:
        loop, rng = stream.loop, self._rng
        if self.weather.is_down or rng.random() < self.weather.failing:
            self._fail(loop, answer, ConnectionResetError("cut"))
            return
        lines = data.decode().split("\r\n")
        target = lines[0].split(" ")[1]
        accept = next(line for line in lines if line.startswith("Accept: ")).removeprefix("Accept: ")
        opened = self._server.watch(target, accept, stream.push)
        if isinstance(opened, Answer):
            if rng.random() < 0.5:  # both happen with a real server
                stream.push(EXPIRED)
                stream.push(b"")
                loop.deliver(_set_result, answer, 200)
            else:
                stream.refusal = Response(opened.status, opened.body, "")
                loop.deliver(_set_result, answer, opened.status)
            return
        stream.watch = opened
        self._streams[stream] = None
        length_s = float(target.rpartition("timeoutSeconds=")[2].partition("&")[0])
        self._timeline.after(length_s, self.end, stream, b"")
        loop.deliver(_set_result, answer, 200)

    def end(self, stream: SimulatedStream, how: bytes | Exception) -> None:
        """End a watch: in order, with an error, or (None) without a word."""
        if self._streams.pop(stream, 0) is None:
            assert stream.watch is not None
            self._server.close(stream.watch)
            stream.push(how)

    def close(self, stream: SimulatedStream) -> None:
        """The client has left."""
        if self._streams.pop(stream, 0) is None:
            assert stream.watch is not None
            self._server.close(stream.watch)

    def streams(self, process: Any = None) -> list[SimulatedStream]:
        return [one for one in self._streams if process is None or one.loop.process is process]

    def carry(self, stream: SimulatedStream, item: bytes | Exception) -> None:
        """Bring a line to its client, after those before it."""
        lag_s = self._rng.expovariate(1 / self.weather.watch_lag_s)
        stream.free_at_s = max(stream.free_at_s, self._timeline.now_s + lag_s)
        self._timeline.at(stream.free_at_s, self._hand_over, stream, item)

    def _hand_over(self, stream: SimulatedStream, item: bytes | Exception) -> None:
        if stream.loop.process not in self.cut:
            stream.loop.deliver(stream.take, item)
        else:
            stream.held.append(item)

    def heal(self, process: Any) -> None:
        """The process reaches the server again: its watches go on, or break, or stay silent."""
        self.cut.pop(process, None)
        for stream in self.streams(process):
            held, stream.held = stream.held, []
            fate = self._rng.random()
            if fate < 0.45:
                for item in held:
                    stream.loop.deliver(stream.take, item)
            elif fate < 0.95:
                self.end(stream, ConnectionResetError("cut"))
            else:
                self.close(stream)


class SimulatedConnections:
    """In place of the pool of connections of one ``KubeTransport``."""

    network: Network

    def __init__(self, endpoint: Any, **options: Any) -> None:
        self.is_closed = False
        self._loop: ProcessLoop = asyncio.get_running_loop()  # type: ignore[assignment]

    async def exchange(self, data: bytes, *, limit_s: float, is_repeatable: bool) -> Response:
        loop = self._loop
        if self.is_closed or loop.is_dead:
            raise ConnectError("closed")
        answer: asyncio.Future[Response] = loop.create_future()
        timer = loop.call_later(limit_s, _set_exception, answer, TimeoutError("no answer in time"))
        loop.process.world.network.ask(loop, data, answer)
        try:
            response = await answer
        finally:
            timer.cancel()
        if b"/leases/" in data[:128]:
            loop.process.world.note_lease_answer()
        return response

    async def connect(self, *, limit_s: float | None = None) -> SimulatedStream:
        if self.is_closed or self._loop.is_dead:
            raise ConnectError("closed")
        return SimulatedStream(self._loop)

    async def close(self) -> None:
        self.is_closed = True


class SimulatedStream:
    """One watch, as its client has it."""

    def __init__(self, loop: ProcessLoop) -> None:
        self.loop = loop
        self.watch: Watch | None = None
        self.refusal: Response | None = None
        self.free_at_s = 0.0
        self.held: list[bytes | Exception] = []
        self._network: Network = loop.process.world.network
        self._items: list[bytes | Exception] = []
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    async def open_stream(self, data: bytes, *, limit_s: float, deadline_s: float | None) -> int:
        del limit_s  # worse than the real one: what is not answered is noticed only at the watch's end
        answer: asyncio.Future[int] = self.loop.create_future()
        if deadline_s is not None:
            self._deadline = self.loop.call_at(deadline_s, self.take, TimeoutError("the watch has no end"))
        self._network.open(self, data, answer)
        return await answer

    async def read_response(self) -> Response:
        assert self.refusal is not None
        return self.refusal

    async def read(self) -> bytes:
        if self.loop.is_dead:
            raise ConnectionResetError("dead")
        while not self._items:
            self._waiter = self.loop.create_future()
            await self._waiter
        item = self._items.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def abort(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._network.close(self)

    def push(self, item: bytes | Exception) -> None:
        self._network.carry(self, item)

    def take(self, item: bytes | Exception) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _set_result(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
