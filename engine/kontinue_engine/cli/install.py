"""Internal. ``kontinue install``: our CustomResourceDefinitions in a cluster, and roles in a namespace.

It can be repeated: what is as it should be is left alone, and data stay. ``--dry-run`` asks no server. What is created
is data of ``kontinue_engine.cli.deployment``.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec
import typer

from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.api.rights import INSTALLED, Role
from kontinue.errors import ConfigError, Conflict, Forbidden, KontinueError, NotFound
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue_engine.apiserver.registry import load_crds
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import Connection, connect, run, say_target
from kontinue_engine.cli.deployment import definitions, rights
from kontinue_engine.cli.deployment.stamps import as_yaml, stamp
from kontinue_engine.cli.options import GlobalOptions, global_options, note

_MANAGER: Final = "kontinue"
_APPLY: Final = "application/apply-patch+yaml"
_POLL_S: Final = 0.2
_RBAC: Final = "rbac.authorization.k8s.io"
_RESOURCES: Final = {
    "Namespace": requests.NAMESPACES,
    "CustomResourceDefinition": requests.CRDS,
    "ServiceAccount": requests.Resource("", "v1", "serviceaccounts", "ServiceAccount"),
    "Role": requests.Resource(_RBAC, "v1", "roles", "Role"),
    "RoleBinding": requests.Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
    "FlowSchema": requests.Resource(
        "flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", namespaced=False
    ),
}


class InstallError(KontinueError):
    """What is installed does not fit, or the server does not serve it."""


class Outcome(enum.StrEnum):
    """What became of an object."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"


def command(
    ctx: typer.Context,
    roles: Annotated[
        str,
        typer.Option(
            metavar="ROLE,...",
            help=f"Which Roles to create in the namespace, of {', '.join(Role)}; empty for none.",
        ),
    ] = ",".join(INSTALLED),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print YAML for kubectl apply; ask no server.")] = False,  # noqa: FBT002
    allow_downgrade: Annotated[  # noqa: FBT002
        bool, typer.Option("--allow-downgrade", help="Replace kinds of a newer kontinue; their new fields are lost.")
    ] = False,
    timeout: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="For the kinds to be served.")] = 60,
) -> None:
    """Install or update Kontinue's kinds in the cluster, and the roles worker, client and operator in a namespace."""
    options = global_options(ctx)
    wanted = _roles(roles)
    if dry_run:
        namespace = _namespace(options)
        if not options.namespace:
            note(options, f"for namespace {namespace}; -n names another one")
        kinds = definitions.in_groups(load_crds(), options.api_groups)
        print(as_yaml([*kinds, *_of_namespace(namespace, wanted, options.api_groups), *_flow(namespace, wanted)]))
        return

    async def main() -> int:
        # Kinds and roles are no primitives: they are written into whichever groups.
        async with connect(msgspec.structs.replace(options, api_groups=options.api_groups[:1])) as connection:
            say_target(options, connection, "installing")
            installation = _Installation(connection, options, allow_downgrade=allow_downgrade)
            await installation.install_kinds(timeout)
            await installation.install_roles(wanted)
        return exit_codes.OK

    run(main)


def _namespace(options: GlobalOptions) -> str:
    """Return the namespace that an install would be about; where no kubeconfig is found, ``default``."""
    if options.namespace:
        return options.namespace
    try:
        return load_config(kubeconfig=options.kubeconfig, context=options.context).namespace
    except ConfigError:
        if options.kubeconfig or options.context:
            raise
        return "default"


def _roles(text: str) -> list[Role]:
    try:
        return [Role(name.strip()) for name in text.split(",") if name.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{error}: the roles are {', '.join(Role)}", param_hint="--roles") from error


def _of_namespace(namespace: str, roles: list[Role], api_groups: Sequence[str]) -> Iterator[dict[str, Any]]:
    if namespace != "default":
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    for role in roles:
        yield from rights.role_objects(role, namespace, stamp(role.value), api_groups)


def _flow(namespace: str, roles: list[Role]) -> list[dict[str, Any]]:
    return [rights.flow_schema(namespace, stamp(Role.WORKER.value))] if Role.WORKER in roles else []


class _Installation:
    """Applies objects one after the other, and says what became of each."""

    def __init__(self, connection: Connection, options: GlobalOptions, *, allow_downgrade: bool) -> None:
        self._transport = connection.transport
        self._namespace = connection.namespace
        self._options = options
        self._allow_downgrade = allow_downgrade

    async def install_kinds(self, timeout_s: int) -> None:
        """Bring all CustomResourceDefinitions to this version, and wait until the server serves them."""
        crds = definitions.in_groups(load_crds(), self._options.api_groups)
        try:
            await self._get(crds[0])
        except Forbidden:
            if not await self._are_served():
                raise
            note(self._options, "the kinds are left as they are: they belong to the cluster, and your rights do not")
            return
        for crd in crds:
            await self._install_kind(crd)
        deadline_s = time.monotonic() + timeout_s
        for crd in crds:
            await self._until_established(crd, deadline_s)

    async def _install_kind(self, crd: dict[str, Any]) -> None:
        while True:
            found = await self._get(crd)
            compared = definitions.compare(crd, found)
            if found is None:
                return await self._apply(crd, None)
            if compared.state is definitions.State.CURRENT:
                return _print(crd, Outcome.UNCHANGED)
            if compared.state is definitions.State.NEWER and not self._allow_downgrade:
                other = "the original's, or " if crd["spec"]["group"] == group.ORIGINAL_GROUP else ""
                raise InstallError(
                    f"{_shown(crd)} in the cluster is {other}of a newer kontinue than this one: it {compared}. "
                    "Update kontinue here; --allow-downgrade takes these fields away from everybody in the cluster"
                )
            # Not applied: fields and rules that somebody else has put there, an older kubectl apply say, would stay.
            body = {**found, "spec": {**found["spec"], **crd["spec"]}}
            try:
                await self._send(crd, requests.replace(requests.CRDS, "", crd["metadata"]["name"], body))
            except Conflict:
                continue  # somebody else has changed it meanwhile
            return _print(crd, Outcome.CONFIGURED)

    async def _are_served(self) -> bool:
        """Tell whether the server knows our kinds, in whatever version: everybody may ask that."""
        try:
            await self._transport.send(requests.Request("GET", f"/apis/{labels.API_VERSION}"))
        except NotFound:
            return False
        return True

    async def install_roles(self, roles: list[Role]) -> None:
        """Create or update what stands in the namespace, and what its workers' Leases need to be renewed in time."""
        for wanted in _of_namespace(self._namespace, roles, self._options.api_groups):
            if wanted["kind"] == "Namespace":
                await self._ensure(wanted)
            else:
                await self._apply(wanted, await self._get(wanted))
        for flow in _flow(self._namespace, roles):
            try:
                await self._apply(flow, await self._get(flow))
            except NotFound:
                note(self._options, f"{_shown(flow)} is left out: the server does not sort requests into flows")
            except Forbidden:
                note(
                    self._options,
                    f"{_shown(flow)} is left out: your rights end at the namespace. Without it workers may lose their "
                    "Leases when the API server is overloaded; `kontinue install` by an administrator creates it",
                )

    async def _ensure(self, namespace: dict[str, Any]) -> None:
        """Create the namespace if it is not there; nothing in it is ours to change."""
        try:
            found = await self._get(namespace)
        except Forbidden:
            return  # who may look into one may not be allowed to look at it; what follows tells
        if found is None:
            await self._apply(namespace, None)

    async def _get(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        resource = _RESOURCES[wanted["kind"]]
        try:
            answer = await self._send(wanted, requests.get(resource, self._namespace, wanted["metadata"]["name"]))
        except NotFound:
            return None
        found: dict[str, Any] = msgspec.json.decode(answer)
        return found

    async def _apply(self, wanted: dict[str, Any], found: dict[str, Any] | None) -> None:
        path = _RESOURCES[wanted["kind"]].path(self._namespace, wanted["metadata"]["name"])
        query = f"fieldManager={_MANAGER}&force=true"
        answer = await self._send(
            wanted, requests.Request("PATCH", path, query, msgspec.json.encode(wanted), content_type=_APPLY)
        )
        if found is None:
            _print(wanted, Outcome.CREATED)
            return
        is_same = msgspec.json.decode(answer)["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
        _print(wanted, Outcome.UNCHANGED if is_same else Outcome.CONFIGURED)

    async def _send(self, wanted: dict[str, Any], request: requests.Request) -> bytes:
        try:
            return await self._transport.send(request)
        except Forbidden as error:
            there = GlobalOptions(api_groups=self._options.api_groups).flags()
            raise Forbidden(
                f"{error}\n{_shown(wanted)} takes more rights than yours. Somebody who has them can apply it: "
                f"kontinue install --dry-run -n {self._namespace}{there} | kubectl apply --server-side -f -",
                status=error.status,
                reason=error.reason,
            ) from error

    async def _until_established(self, crd: dict[str, Any], deadline_s: float) -> None:
        while True:
            found = await self._get(crd)
            if found is not None and definitions.is_established(found):
                return
            if time.monotonic() > deadline_s:
                raise InstallError(
                    f"the server does not serve {_shown(crd)} yet: `kubectl describe` shows its conditions. "
                    "A longer --timeout waits longer"
                )
            await asyncio.sleep(_POLL_S)


def _shown(wanted: dict[str, Any]) -> str:
    return f"{wanted['kind'].lower()}/{wanted['metadata']['name']}"


def _print(wanted: dict[str, Any], outcome: Outcome) -> None:
    print(f"{_shown(wanted)} {outcome}", flush=True)
