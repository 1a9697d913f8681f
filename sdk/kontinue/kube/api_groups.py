"""The kinds of ``konductor.io`` under the name of another API group, where a cluster serves them there.

The original serves the same kinds in ``sync.konductor.io``. Everything of ours speaks of them in its own group; here a
transport renames that in what is sent, for those who were told to work in the other one (docs/adr/0033). Answers are
left as they are: an object that was read says itself where it belongs, and is written back so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from kontinue.api.konductor.group import API_VERSION, GROUP, VERSION
from kontinue.kube.requests import EVENTS, Request
from kontinue.kube.transport import Transport

_PATH: Final = f"/apis/{GROUP}/"
_EVENTS: Final = f"/{EVENTS.plural}"


def in_group(request: Request, api_group: str) -> Request:
    """Return a request about kinds of ``konductor.io`` as one about those of ``api_group``, any other as it is.

    An Event about such an object names it in its body. Bodies are JSON as ``kontinue.kube.requests`` makes it, without
    blanks; quotes inside of a text are escaped there, so what is replaced is never a part of one.
    """
    is_about_them = request.path.startswith(_PATH)
    if not is_about_them and not (request.method == "POST" and request.path.endswith(_EVENTS)):
        return request
    path = f"/apis/{api_group}/{request.path.removeprefix(_PATH)}" if is_about_them else request.path
    body = request.body.replace(_field(API_VERSION), _field(f"{api_group}/{VERSION}"))
    return msgspec.structs.replace(request, path=path, body=body)


def for_group(transport: Transport, api_group: str) -> Transport:
    """Return a transport for those who work with the kinds of ``konductor.io`` in ``api_group``."""
    return transport if api_group == GROUP else _Renaming(transport, api_group)


class _Renaming:
    """Sends by another transport what ``in_group`` returns."""

    def __init__(self, transport: Transport, api_group: str) -> None:
        self._transport = transport
        self._api_group = api_group

    async def send(
        self,
        request: Request,
        *,
        retries: bool = True,
        repeatable: bool | None = None,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """See ``Transport.send``."""
        return await self._transport.send(
            in_group(request, self._api_group),
            retries=retries,
            repeatable=repeatable,
            retry_for_s=retry_for_s,
            timeout_s=timeout_s,
        )

    def stream(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """See ``Transport.stream``."""
        return self._transport.stream(in_group(request, self._api_group), timeout_s=timeout_s)

    def chunks(self, request: Request, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """See ``Transport.chunks``."""
        return self._transport.chunks(in_group(request, self._api_group), timeout_s=timeout_s)


def _field(api_version: str) -> bytes:
    return f'"apiVersion":"{api_version}"'.encode()
