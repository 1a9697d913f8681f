"""Ports that tests give to processes."""

from __future__ import annotations

import socket
from pathlib import Path

from ports import free_port


def test_a_port_is_free_and_the_kernel_gives_it_to_nobody_else() -> None:
    """Others ask the kernel for one all the time; and of our own processes no two get the same."""
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == 50
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in given if first <= port <= last]
    with socket.create_server(("127.0.0.1", given[0])):
        pass
