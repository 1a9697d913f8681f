"""Ports for processes that cannot choose their own: nobody else is given one between here and their start.

The kernel gives those of its ephemeral range to any connection and to any server that asks for port 0, so a port of
that range which is free now may be taken a moment later.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
"""Below are those of services that may run on the machine."""
HIGHEST = 65_535
TRIES = 200

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_rng = random.Random()
_given: set[int] = set()


def free_port() -> int:
    """Return a port of this machine on which nobody listens, and which nobody is given by the kernel."""
    candidates = _outside_of_ephemeral()
    for _ in range(TRIES):
        port = _rng.choice(candidates)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port among {len(candidates)}, in {TRIES} tries")


def _outside_of_ephemeral() -> list[int]:
    first, last = map(int, _EPHEMERAL.read_text().split()) if _EPHEMERAL.exists() else (32_768, 60_999)
    return [port for port in range(LOWEST, HIGHEST + 1) if not first <= port <= last]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
