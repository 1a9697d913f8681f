"""Internal. Which command a Pod stands for, as far as a process of this machine can stand for it. Pure.

Called by ``kontinue_engine.cli.dev.job_runner``. What would quietly mean something else here is refused: an image's own
entry point, values that come from the cluster, several containers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_REFERENCE: Final = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


class LocalCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What is run in place of a container.

    Attributes:
        container: its name.
        arguments: program and arguments.
        environment: all variables.
        grace_s: between being asked to end and being killed.
    """

    container: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    grace_s: float


class NoLocalCommandError(Exception):
    """The Pod has nothing that a local process could stand for; the message says what is in the way."""


def local_command(spec: Mapping[str, Any], environment: Mapping[str, str], *, max_grace_s: float) -> LocalCommand:
    """Return what to run for a Pod.

    Args:
        spec: of the Pod.
        environment: variables of this machine; those of the container come on top.
        max_grace_s: limit of the Pod's own grace period.

    Raises:
        NoLocalCommandError: there is nothing to run.
    """
    if spec.get("initContainers") or len(spec["containers"]) != 1:
        raise NoLocalCommandError("it has several containers: --jobs=process runs Pods of one container")
    (container,) = spec["containers"]
    if not container.get("command"):
        raise NoLocalCommandError(
            f"container {container['name']} has no command: --jobs=process does not know the entry point of image "
            f"{container.get('image', '')}"
        )
    given: dict[str, str] = {}
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            raise NoLocalCommandError(
                f"variable {variable['name']} of container {container['name']} comes from the cluster (valueFrom)"
            )
        given[variable["name"]] = _expanded(variable.get("value", ""), given)
    words = [*container["command"], *(container.get("args") or ())]
    return LocalCommand(
        container=container["name"],
        arguments=tuple(_expanded(word, given) for word in words),
        environment={**environment, **given},
        grace_s=min(max_grace_s, spec.get("terminationGracePeriodSeconds", max_grace_s)),
    )


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as Kubernetes does: only by variables of the container; ``$$`` stands for ``$``."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return _REFERENCE.sub(value, text)
