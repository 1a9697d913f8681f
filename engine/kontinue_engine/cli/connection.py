"""Internal. From global options to an open connection, and from a coroutine to an exit code. Called by every verb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import msgspec
import typer

from kontinue.client.client import Client
from kontinue.errors import ApiError, NotFound
from kontinue.kube import requests
from kontinue.kube.api_groups import for_group
from kontinue.kube.config import KubeConfig, load_config
from kontinue.kube.http import KubeTransport
from kontinue.kube.transport import Transport
from kontinue_engine.cli.options import GlobalOptions, note

_PROBE_S = 1.0
_SAY_AFTER_S = 2.0
"""A server that is well answers in milliseconds. Judgement: sooner would be noise, later looks like a hang."""


class _TellingTransport(KubeTransport):
    """Says once on stderr that the server does not answer, where a verb would be silent until it gives up."""

    def __init__(self, config: KubeConfig, options: GlobalOptions) -> None:
        super().__init__(config, user_agent="kontinue-cli")
        self._options = options
        self._is_told = False

    async def send(
        self,
        request: requests.Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        timer = asyncio.get_running_loop().call_later(_SAY_AFTER_S, self._say)
        try:
            return await super().send(
                request, retries=retries, repeatable=repeatable, retry_for_s=retry_for_s, timeout_s=timeout_s
            )
        finally:
            timer.cancel()

    def _say(self) -> None:
        if not self._is_told:
            self._is_told = True
            note(self._options, f"no answer from {self.config.address} yet, still trying")


class Connection(msgspec.Struct, frozen=True):
    """An open connection."""

    config: KubeConfig
    transport: Transport
    client: Client

    @property
    def namespace(self) -> str:
        """Namespace that the verb works in."""
        return self.config.namespace

    def note_place(self, error: Exception) -> None:
        """Note in an error where something was looked for, if it is not there."""
        if isinstance(error, NotFound):
            error.add_note(f"(namespace {self.namespace} on {self.config.address})")

    async def answers(self) -> bool:
        """Tell whether the server answers now."""
        try:
            await self.transport.send(requests.Request("GET", "/version"), retries=False, timeout_s=_PROBE_S)
        except ApiError as error:
            return error.status != 0
        return True


@asynccontextmanager
async def connect(options: GlobalOptions) -> AsyncIterator[Connection]:
    """Find the server, open a transport, close it at the end.

    Raises:
        ConfigError: no server was found; says what was tried.
        NotFound: of what is done meanwhile, with a note of where that was.
    """
    api_group = options.api_group
    config = load_config(kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace)
    telling = _TellingTransport(config, options)
    transport = for_group(telling, api_group)
    try:
        async with Client.from_kube(transport, config.namespace) as client:
            connection = Connection(config, transport, client)
            try:
                yield connection
            except NotFound as error:
                connection.note_place(error)
                raise
    finally:
        await telling.close()


def say_target(options: GlobalOptions, connection: Connection, action: str) -> None:
    """Say on stderr what is about to be changed, and where."""
    config = connection.config
    source = f", found by {config.source}" if config.source else ""
    note(options, f"{action} in namespace {config.namespace} on {config.address}{source}")


def run(main: Callable[[], Coroutine[None, None, int]], *, on_interrupt: Callable[[], int] | None = None) -> None:
    """Run a verb's coroutine and leave with its exit code; Ctrl-C cancels it, then ``on_interrupt`` gives the code."""
    try:
        code = asyncio.run(main())
    except KeyboardInterrupt:
        code = on_interrupt() if on_interrupt else 130
    raise typer.Exit(code)
