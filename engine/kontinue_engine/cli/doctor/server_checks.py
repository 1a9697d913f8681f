"""Internal. Judges the server, the clock, our rights and our kinds. Pure functions over what was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from kontinue.api.rights import Right, Role, rights, rules_of
from kontinue_engine.apiserver.registry import load_crds
from kontinue_engine.cli.deployment import definitions
from kontinue_engine.cli.doctor.findings import Finding, error, ok, warning
from kontinue_engine.cli.doctor.observed import Observed
from kontinue_engine.cli.text import format_duration

MIN_MINOR: Final = 32
SLOW_S: Final = 0.5
"""A request that changes nothing. Judgement: renewals of Leases have seconds, but a step waits for its write."""
MAX_SKEW: Final = timedelta(seconds=5)
"""Judgement. Nothing depends on equal clocks, but sleeps end and schedules start by those of the workers."""
_SHOWN: Final = 6
_ZERO: Final = timedelta()


def check_server(seen: Observed) -> Iterator[Finding]:
    """Where requests go, whether it answers, how fast, and what it is."""
    server = seen.server
    where = f"{server.address}, {f'namespace {server.namespace}' if server.namespace else 'all namespaces'}"
    source = f", found by {server.source}" if server.source else ""
    if refusal := seen.refusals.get("server"):
        yield error(
            "server",
            f"{where}{source}: {refusal}",
            "is it running, and the one you mean? --context, --kubeconfig and KUBECONFIG choose another one; "
            "`kontinue dev MODULE:APP` starts one here",
        )
        return
    if refusal := seen.refusals.get("credentials"):
        yield error(
            "server",
            f"{where}{source}, does not know who you are: {refusal}",
            "the token or certificate of this kubeconfig is not valid, or no longer: log in again",
        )
        return
    yield ok("server", f"{where}{source}; {server.version}, {format_duration(timedelta(seconds=server.latency_s))}")
    if refusal := seen.refusals.get("readiness"):
        yield error(
            "server",
            f"it is not ready: {refusal}",
            "what it does not store waits: is its disk full, or its store away? "
            "`kubectl get --raw '/readyz?verbose'` says what it is",
        )
    if server.latency_s > SLOW_S:
        yield warning(
            "server",
            f"it took {format_duration(timedelta(seconds=server.latency_s))} to say its version",
            "every step waits for a write: run workers near it, and look at its load",
        )
    found = re.match(r"v?1\.(\d+)", server.version)
    if found and int(found[1]) < MIN_MINOR:
        yield error("server", f"{server.version} is too old", f"update it to 1.{MIN_MINOR} or later")


def check_clock(seen: Observed) -> Iterator[Finding]:
    """The server's clock against ours, as far as a second and the time of a request allow."""
    if seen.identity is None:
        yield from _unread(seen, "identity", "clock")
        return
    who = seen.identity
    # The server's time is cut to the second: it was between this and a second later.
    ahead = max(_ZERO, who.server_time - who.answered_at)
    behind = max(_ZERO, who.asked_at - who.server_time - timedelta(seconds=1))
    skew = max(ahead, behind)
    if skew > MAX_SKEW:
        side = "ahead of" if ahead > behind else "behind"
        yield warning(
            "clock",
            f"the server's clock is {format_duration(skew)} {side} ours",
            "set both by NTP: times of sleeps, schedules and ages are told by different clocks",
        )
    else:
        yield ok("clock", "the server's agrees with ours")


def check_rights(seen: Observed) -> Iterator[Finding]:
    """Which roles we could play. Those that were asked for must all be there; else one of them is enough."""
    if seen.rights is None:
        yield from _unread(seen, "rights", "rights")
        return
    user = seen.identity.user if seen.identity else "you"
    rules = {role: rules_of(role, [seen.server.api_group]) for role in seen.roles}
    lacking = {role: [one for one in rights(found) if not seen.rights[one]] for role, found in rules.items()}
    complete = [role for role, lacks in lacking.items() if not lacks]
    if complete:
        yield ok("rights", f"{user} can work as {', '.join(complete)}")
    asked_for_one = len(seen.roles) == 1
    if complete and not asked_for_one:
        return
    for role, lacks in lacking.items():
        if lacks and (asked_for_one or role is Role.CLIENT or Role.CLIENT not in seen.roles):
            yield error(
                "rights",
                f"{user} cannot work as {role}: may not {_some(lacks)}",
                f"an administrator runs `{_install(seen)}{_place(seen)}` and binds the role: kubectl create "
                f"rolebinding NAME --role {role.object_name} --user {user}{_place(seen)}",
            )


def check_kinds(seen: Observed) -> Iterator[Finding]:
    """The CustomResourceDefinitions: there, served, and of this version."""
    if seen.kinds is None:
        yield from _unread(seen, "kinds", "kinds")
        return
    if not any(seen.kinds.values()):
        yield error("kinds", "none is installed", f"{_install(seen)}{_place(seen)}")
        return
    current, install = 0, _install(seen)
    for crd in _expected(seen):
        name = crd["metadata"]["name"]
        found = seen.kinds.get(name)
        compared = definitions.compare(crd, found)
        match compared.state:
            case definitions.State.CURRENT if found is not None and not definitions.is_established(found):
                yield error("kinds", "is not served yet", f"kubectl describe crd {name}", about=name)
            case definitions.State.CURRENT:
                current += 1
            case definitions.State.ABSENT:
                yield error("kinds", "is not installed", install, about=name)
            case definitions.State.OLDER:
                yield error("kinds", f"is of an older version: it {compared}", install, about=name)
            case definitions.State.NEWER:
                yield warning("kinds", f"is of a newer version: it {compared}", "update kontinue here", about=name)
            case definitions.State.DIFFERENT:
                yield warning("kinds", f"is not of this version: it {compared}", install, about=name)
    if current:
        yield ok("kinds", f"{current} of {len(_expected(seen))} are of this version")


def check_reading(seen: Observed) -> Iterator[Finding]:
    """Say what could not be looked at, or not to its end."""
    # Lists of kinds that are not installed fail, and `kinds` has said why.
    known = {"server", "credentials", "readiness", "identity", "rights", "kinds"}
    if seen.kinds is not None and None in seen.kinds.values():
        known.update(crd["spec"]["names"]["plural"] for crd in load_crds())
        known.add("archives")
    for part, refusal in seen.refusals.items():
        if part not in known:
            yield warning(part, f"could not be read: {refusal}", "ask for the right to list them: `rights` above")
    for part, count in seen.cut.items():
        yield warning(part, f"there are more than the first {count} that were looked at", "--limit looks at more")


def _unread(seen: Observed, part: str, check: str) -> Iterator[Finding]:
    if refusal := seen.refusals.get(part):
        remedy = (
            "they belong to the cluster: ask an administrator to run doctor" if part == "kinds" else "see the error"
        )
        yield warning(check, f"could not be looked at: {refusal}", remedy)


def _some(lacks: list[Right]) -> str:
    more = f" and {len(lacks) - _SHOWN} more" if len(lacks) > _SHOWN else ""
    return ", ".join(map(str, lacks[:_SHOWN])) + more


def _expected(seen: Observed) -> list[dict[str, Any]]:
    return definitions.in_groups(load_crds(), [seen.server.api_group])


def _install(seen: Observed) -> str:
    return f"kontinue install{seen.server.group_option}"


def _place(seen: Observed) -> str:
    return f" -n {seen.server.namespace}" if seen.server.namespace else ""
