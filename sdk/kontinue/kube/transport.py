"""The seam between those who make requests and the one module that sends them.

``kontinue.kube.http.KubeTransport`` is the implementation over HTTP. Informer, lease, events and client take this
Protocol, so that they load no HTTP library and a server in the same process can stand behind it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from kontinue.kube.requests import Request


class Transport(Protocol):
    """Sends requests to one API server."""

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Send one request and return the body of a successful answer.

        Args:
            request: what to send.
            retries: whether refusals that pass by themselves (no answer, 429, 503 ...) are tried again.
            repeatable: whether it may be sent again when an answer got lost. By default everything but POST.
            retry_for_s: give up after this many seconds of retrying; None: never, until cancelled.
            timeout_s: limit of one try; None: the transport's own.

        Raises:
            ApiError: the server refused it, or could not be reached (``Unavailable``).
        """
        ...

    def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Open a watch and yield its lines until the server ends it. No retries.

        Close it (``contextlib.aclosing``) when leaving early. By default it has no limit of time.

        Raises:
            ApiError: the server refused it; ``Unavailable`` when it was cut or took longer than ``timeout_s``.
        """
        ...

    def chunks(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the body of an answer as it comes, such as a log, until the server ends it. No retries.

        Close it (``contextlib.aclosing``) when leaving early: that closes the connection. By default it has no limit
        of time.

        Raises:
            ApiError: the server refused it; ``Unavailable`` when it was cut or took longer than ``timeout_s``.
        """
        ...
