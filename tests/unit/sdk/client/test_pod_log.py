"""A log that is followed is told whole and once, whatever ends an answer on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from fake_pods import DONE, KILLED, RUNNING, WAITING, FakePods
from kontinue.api.batch import JOB_NAME_LABEL
from kontinue.client import Client, pod_log
from kontinue.client.pod_log import PodLog
from kontinue.errors import Forbidden, Invalid, Unavailable

ONE = ("2026-01-01T00:00:01.000000001Z", "one\n")
TWO = ("2026-01-01T00:00:02.000000001Z", "two\n")
THREE = ("2026-01-01T00:01:03.000000001Z", "three\n")


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_log, "POLL_S", 0.0)


@pytest.fixture
def pods() -> FakePods:
    return FakePods()


class Told:
    """What somebody has read so far."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.text = b""
        self.task = asyncio.create_task(self._read(chunks))

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.text += chunk

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)

    async def has(self, text: bytes) -> None:
        await self.until(lambda: self.text == text)

    async def end(self) -> bytes:
        async with asyncio.timeout(60):
            await self.task
        return self.text


async def test_an_answer_that_ends_before_its_container_is_asked_for_again(pods: FakePods) -> None:
    """A kubelet breaks off, and the container ends before anybody looks at the Pod: the last lines are told."""
    told = Told(PodLog(pods, pods.put("p"), "main").follow())
    pods.print("p", ONE)
    await told.has(b"one\n")
    pods.put("p", state=DONE, phase="Succeeded")
    pods.print("p", TWO)
    pods.end_answer("p")
    assert await told.end() == b"one\ntwo\n"


async def test_the_log_of_a_container_that_has_ended_is_asked_for_once(pods: FakePods) -> None:
    """There is nothing to come."""
    pod = pods.put("p", state=DONE, phase="Succeeded")
    pods.print("p", ONE)
    assert await Told(PodLog(pods, pod, "main").follow()).end() == b"one\n"
    assert pods.opened == 1


@pytest.mark.parametrize(("policy", "state"), [("OnFailure", KILLED), ("Always", DONE)])
async def test_a_container_that_is_started_again_is_followed_on(pods: FakePods, policy: str, state: object) -> None:
    """In the same Pod; it is over when the Pod is."""
    told = Told(PodLog(pods, pods.put("p", restart_policy=policy), "main").follow())
    pods.print("p", ONE)
    await told.has(b"one\n")
    for now in (state, WAITING):
        pods.put("p", state=now, restart_policy=policy)  # type: ignore[arg-type]
        seen = pods.opened
        pods.end_answer("p")
        await told.until(lambda seen=seen: pods.opened > seen)  # type: ignore[misc]
    pods.put("p", state=RUNNING, restart_policy=policy)
    pods.print("p", THREE)
    await told.has(b"one\nthree\n")
    pods.put("p", state=DONE, phase="Succeeded", restart_policy=policy)
    pods.end_answer("p")
    assert await told.end() == b"one\nthree\n"


async def test_another_pod_of_the_same_name_is_not_followed(pods: FakePods) -> None:
    """Its log is another one."""
    told = Told(PodLog(pods, pods.put("p", uid="first"), "main").follow())
    pods.print("p", ONE)
    await told.has(b"one\n")
    pods.remove("p")
    pods.put("p", uid="second")
    pods.end_answer("p")
    assert await told.end() == b"one\n"


async def test_the_timeout_of_a_client_does_not_limit_what_is_followed(pods: FakePods) -> None:
    """The server may be away for longer, also when the Pod is read."""
    pods.put("p", labels={JOB_NAME_LABEL: "j"})
    client = Client.from_kube(pods, "ns").with_timeout(timedelta(seconds=30))
    async with client.get_job_logs("j", follow=True) as chunks:
        told = Told(chunks)
        pods.print("p", ONE)
        await told.has(b"one\n")
        client.timeout = timedelta(microseconds=1)
        pods.is_away, pods.refusal, seen = True, Unavailable("nobody there"), pods.looks
        pods.end_answer("p", Unavailable("cut"))
        await told.until(lambda: pods.looks > seen + 2)
        assert not told.task.done()
        pods.is_away, pods.refusal = False, None
        pods.print("p", TWO)
        pods.put("p", state=DONE, phase="Succeeded")
        await told.has(b"one\ntwo\n")
        pods.end_answer("p")
        assert await told.end() == b"one\ntwo\n"


@pytest.mark.parametrize("is_away", [True, False])
async def test_a_server_that_stays_away_ends_it(pods: FakePods, monkeypatch: pytest.MonkeyPatch, is_away: bool) -> None:
    """After as long as any request is retried, whether the log is refused or the Pod cannot be read."""
    monkeypatch.setattr(pod_log, "GIVE_UP_S", 0.1)
    told = Told(PodLog(pods, pods.put("p"), "main").follow())
    pods.print("p", ONE)
    await told.has(b"one\n")
    pods.is_away, pods.refusal = is_away, Unavailable("nobody there")
    pods.end_answer("p", Unavailable("cut"))
    with pytest.raises(Unavailable, match="nobody there"):
        await told.end()


async def test_a_container_that_the_pod_does_not_have_is_refused(pods: FakePods) -> None:
    """While it runs, too."""
    with pytest.raises(Invalid, match="container typo is not valid"):
        await Told(PodLog(pods, pods.put("p"), "typo").follow()).end()


async def test_a_refusal_of_the_pod_ends_it(pods: FakePods) -> None:
    """Somebody may read logs and no Pods."""
    pods.refusal = Forbidden("no", status=403)
    with pytest.raises(Forbidden):
        await Told(PodLog(pods, pods.put("p"), "main").follow()).end()


async def test_the_rest_is_what_was_not_told(pods: FakePods) -> None:
    """Read at once, up to what is there."""
    log = PodLog(pods, pods.put("p"), "main", timestamps=True)
    told = Told(log.follow())
    pods.print("p", ONE)
    await told.has(b"2026-01-01T00:00:01.000000001Z one\n")
    told.task.cancel()
    pods.print("p", TWO)
    assert b"".join([chunk async for chunk in log.rest()]) == b"2026-01-01T00:00:02.000000001Z two\n"
