"""Options of the client and of a spawn, as users write them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kontinue.api.konductor import group
from kontinue.options import Retention, RetryPolicy, TimeoutPolicy, check_policies, require_duration


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """Where the client connects and how fast it goes.

    Attributes:
        namespace: namespace to work in; None: that of the configuration found.
        context: context of the kubeconfig.
        kubeconfig: path of a kubeconfig; None: looked for, see ``kontinue.kube.config.load_config``.
        impersonate: user name to act as.
        qps: requests per second on average; None switches throttling off. Watches are not counted.
        burst: requests that may be sent at once before ``qps`` limits them.
        timeout: limit of every call, waits included; None: waits have none, requests are retried for 30 s.
        api_group: of the primitives of ``kontinue.sync``: ``konductor.io``, or ``sync.konductor.io``.
    """

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    impersonate: str | None = None
    qps: float | None = 5.0
    burst: int = 10
    timeout: timedelta | None = None
    api_group: str = group.GROUP

    def __post_init__(self) -> None:
        if self.api_group not in group.GROUPS:
            raise ValueError(f"api_group={self.api_group!r}: expected {' or '.join(group.GROUPS)}")
        if self.qps is not None and self.qps <= 0:
            raise ValueError(f"qps={self.qps}: expected more than 0, or None for no limit")
        if self.burst < 1:
            raise ValueError(f"burst={self.burst}: expected 1 or more")
        require_duration("timeout", self.timeout)


@dataclass(frozen=True, kw_only=True)
class SpawnOptions:
    """How to create an Execution of a function called by name; definitions carry theirs by ``fn.options(...)``.

    Attributes:
        name: its name; None: chosen by the client from the function's name.
        namespace: where; None: the client's namespace.
        retry: overrides the function's default.
        ttl: overrides the function's default.
        timeout: overrides the function's default.
        mutex: name of the mutex to hold while it runs.
        if_exists: what to do when ``name`` is taken: raise AlreadyExists, or attach to the Execution that exists,
            provided that it was started with the same function and the same arguments.
    """

    name: str | None = None
    namespace: str | None = None
    retry: RetryPolicy | None = None
    ttl: Retention | None = None
    timeout: TimeoutPolicy | None = None
    mutex: str | None = None
    if_exists: Literal["error", "attach"] = "error"

    def __post_init__(self) -> None:
        check_policies(retry=self.retry, timeout=self.timeout, ttl=self.ttl)
        if self.if_exists not in ("error", "attach"):
            raise ValueError(f"if_exists={self.if_exists!r}: expected 'error' or 'attach'")
