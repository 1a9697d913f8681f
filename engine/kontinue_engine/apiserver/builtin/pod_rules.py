"""Internal. Rules of Pods and of the templates of what runs them. Pure; called by ``builtin.validation``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kontinue_engine.apiserver.builtin.checks import Document, one_of, require
from kontinue_engine.apiserver.schemas import metadata
from kontinue_engine.apiserver.statuses import Cause, cause
from kontinue_engine.apiserver.values import json_equal

_RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")


def pod_spec_problems(spec: Document, path: str, causes: list[Cause], *, claims: Sequence[str] = ()) -> None:
    """Judge a pod's spec, also that of a template; ``claims`` name volumes from elsewhere."""
    require(causes, spec, "containers", path)
    names: set[str] = set()
    volumes = set(claims)
    for index, volume in enumerate(spec.get("volumes") or ()):
        if require(causes, volume, "name", f"{path}.volumes[{index}]"):
            volumes.add(volume["name"])
        for source in sorted(volume.keys() - {"name"})[1:]:
            detail = "may not specify more than 1 volume type"
            causes.append(cause("FieldValueForbidden", f"{path}.volumes[{index}].{source}", detail=detail))
    for key in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(key) or ()):
            _container(container, f"{path}.{key}[{index}]", names, volumes, causes)
    if not path.endswith(".template.spec"):  # those of templates have rules of their own
        one_of(causes, spec.get("restartPolicy"), _RESTART_POLICIES, f"{path}.restartPolicy")


def _container(container: Document, path: str, names: set[str], volumes: set[str], causes: list[Cause]) -> None:
    if require(causes, container, "name", path):
        name = container["name"]
        if problem := metadata.dns_label_problem(name):
            causes.append(cause("FieldValueInvalid", f"{path}.name", value=name, detail=problem))
        elif name in names:
            causes.append(cause("FieldValueDuplicate", f"{path}.name", value=name))
        names.add(name)
    require(causes, container, "image", path)
    for index, variable in enumerate(container.get("env") or ()):
        require(causes, variable, "name", f"{path}.env[{index}]")
    for index, port in enumerate(container.get("ports") or ()):
        require(causes, port, "containerPort", f"{path}.ports[{index}]")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        at = f"{path}.volumeMounts[{index}]"
        if require(causes, mount, "name", at) and mount["name"] not in volumes:
            causes.append(Cause("FieldValueNotFound", f'Not found: "{mount["name"]}"', f"{at}.name"))
        require(causes, mount, "mountPath", at)


def pod_problems(new: Document, old: Document | None, causes: list[Cause]) -> None:
    """Judge a Pod; of one that exists only little may change."""
    pod_spec_problems(new["spec"], "spec", causes)
    if old is None or causes:
        return
    kept = [_lasting(toleration) for toleration in new["spec"].get("tolerations") or ()]
    if any(_lasting(toleration) not in kept for toleration in old["spec"].get("tolerations") or ()):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        causes.append(cause("FieldValueForbidden", "spec.tolerations", detail=detail))
    if not json_equal(_fixed_part(new["spec"]), _fixed_part(old["spec"])):
        detail = (
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
        )
        causes.append(cause("FieldValueForbidden", "spec", detail=detail))


def _lasting(toleration: Document) -> Document:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _fixed_part(spec: Document) -> Document:
    fixed = {key: value for key, value in spec.items() if key not in {"activeDeadlineSeconds", "tolerations"}}
    for key in ("containers", "initContainers"):
        if key in fixed:
            fixed[key] = [{**container, "image": ""} for container in fixed[key]]
    return fixed
