"""Internal. The half of an event loop that a replayed body must not use: each method says what to do instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from kontinue.errors import ContextError


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
        raise ContextError(
            f"{name} in the body of a function with a context: the body is replayed, so it may do no I/O and start no "
            "threads or processes. Put it in a step: await ctx.step(fn, ...)"
        )

    refuse.__name__ = name
    return refuse


class LoopWithoutIO(asyncio.AbstractEventLoop):
    """Refuses sockets, pipes, signals, subprocesses, threads, and being run or closed by user code."""

    add_reader: Any = _refuse("add_reader")
    add_signal_handler: Any = _refuse("add_signal_handler")
    add_writer: Any = _refuse("add_writer")
    close: Any = _refuse("close")
    connect_accepted_socket: Any = _refuse("connect_accepted_socket")
    connect_read_pipe: Any = _refuse("connect_read_pipe")
    connect_write_pipe: Any = _refuse("connect_write_pipe")
    create_connection: Any = _refuse("create_connection")
    create_datagram_endpoint: Any = _refuse("create_datagram_endpoint")
    create_server: Any = _refuse("create_server")
    create_unix_connection: Any = _refuse("create_unix_connection")
    create_unix_server: Any = _refuse("create_unix_server")
    default_exception_handler: Any = _refuse("default_exception_handler")
    get_exception_handler: Any = _refuse("get_exception_handler")
    getaddrinfo: Any = _refuse("getaddrinfo")
    getnameinfo: Any = _refuse("getnameinfo")
    remove_reader: Any = _refuse("remove_reader")
    remove_signal_handler: Any = _refuse("remove_signal_handler")
    remove_writer: Any = _refuse("remove_writer")
    run_forever: Any = _refuse("run_forever")
    run_in_executor: Any = _refuse("run_in_executor")
    run_until_complete: Any = _refuse("run_until_complete")
    sendfile: Any = _refuse("sendfile")
    set_default_executor: Any = _refuse("set_default_executor")
    set_exception_handler: Any = _refuse("set_exception_handler")
    set_task_factory: Any = _refuse("set_task_factory")
    shutdown_asyncgens: Any = _refuse("shutdown_asyncgens")
    shutdown_default_executor: Any = _refuse("shutdown_default_executor")
    sock_accept: Any = _refuse("sock_accept")
    sock_connect: Any = _refuse("sock_connect")
    sock_recv: Any = _refuse("sock_recv")
    sock_recv_into: Any = _refuse("sock_recv_into")
    sock_recvfrom: Any = _refuse("sock_recvfrom")
    sock_recvfrom_into: Any = _refuse("sock_recvfrom_into")
    sock_sendall: Any = _refuse("sock_sendall")
    sock_sendfile: Any = _refuse("sock_sendfile")
    sock_sendto: Any = _refuse("sock_sendto")
    start_tls: Any = _refuse("start_tls")
    stop: Any = _refuse("stop")
    subprocess_exec: Any = _refuse("subprocess_exec")
    subprocess_shell: Any = _refuse("subprocess_shell")
