"""Internal. Functions as the API server has them: whose they are, and whether they say what they should.

Read no further than is needed: what a newer version wrote into one, or a looser schema let in, must not keep a replica
from starting, nor end a leader. Used by the controllers and by the leader's duties.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.meta import ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import FunctionSpec
from kontinue.kube import requests
from kontinue.kube.transport import Transport
from kontinue.naming import dns_name


class _Owned(ApiStruct, frozen=True, kw_only=True):
    name: str
    worker_group: str


_NOTHING: Final = _Owned(name="", worker_group="")


class StoredFunction(ApiStruct, frozen=True, kw_only=True):
    """A Function of any version."""

    metadata: ObjectMeta
    spec: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def owner(self) -> str:
        """Worker group that has it; empty if that cannot be read."""
        return self._owned.worker_group

    @property
    def name(self) -> str:
        """What users call it; empty if that cannot be read."""
        return self._owned.name

    def says(self, spec: FunctionSpec) -> bool:
        """Tell whether it says this, and nothing that this version does not know."""
        try:
            stored = _decode_spec(self.spec)
        except msgspec.MsgspecError:
            return False
        return bool(msgspec.json.decode(_encode(stored)) == msgspec.json.decode(_encode(spec)))

    @property
    def _owned(self) -> _Owned:
        try:
            return _decode_owned(self.spec)
        except msgspec.MsgspecError:
            return _NOTHING


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(StoredFunction).decode
_decode_owned: Final = msgspec.json.Decoder(_Owned).decode
_decode_spec: Final = msgspec.json.Decoder(FunctionSpec).decode


async def read_function(transport: Transport, *, namespace: str, name: str) -> StoredFunction | None:
    """GET a Function by the name of its object; None when there is none of that name.

    Raises:
        ApiError: the server does not answer, or with something else.
    """
    try:
        return _decode(await transport.send(requests.get(requests.FUNCTIONS, namespace, name)))
    except errors.NotFound:
        return None
    except msgspec.MsgspecError as error:
        raise errors.Unavailable(f"Function {namespace}/{name} cannot be read: {error}") from error


async def find_owner(transport: Transport, *, namespace: str, function: str) -> str | None:
    """Return the worker group that has a function; None if nobody has, empty if that cannot be read.

    Raises:
        ApiError: the server does not answer, or with something else.
    """
    try:
        name = dns_name(function)
    except ValueError:
        return None  # nobody can register it, but anybody can ask for it
    found = await read_function(transport, namespace=namespace, name=name)
    return found.owner if found is not None else None
