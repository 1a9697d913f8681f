"""Internal. Whether an object may be stored, and what of it: names, schema or built-in rules, unknown fields.

Called by ``writing`` for every create and update, after ``preparation``; ``write_handlers`` asks for the fields that an
applied configuration names twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import rules
from kontinue_engine.apiserver.custom import crd_status, definitions
from kontinue_engine.apiserver.http import duplicates
from kontinue_engine.apiserver.http.requests import WriteOptions
from kontinue_engine.apiserver.objects import scaling
from kontinue_engine.apiserver.objects.object_store import ObjectStore
from kontinue_engine.apiserver.registry import Registry
from kontinue_engine.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS, ResourceInfo
from kontinue_engine.apiserver.schemas import metadata, object_rules

_NAME_RULES: Final = {
    "namespaces": metadata.dns_label_problem,
    "clusterrolebindings.rbac.authorization.k8s.io": metadata.path_segment_problem,
    "clusterroles.rbac.authorization.k8s.io": metadata.path_segment_problem,
    "rolebindings.rbac.authorization.k8s.io": metadata.path_segment_problem,
    "roles.rbac.authorization.k8s.io": metadata.path_segment_problem,
}
"""What is wrong with a name, where it need not be a DNS subdomain."""


class Judge:
    """Judges objects.

    Args:
        store: where the other CustomResourceDefinitions are.
        registry: of the kinds served.
        now: the time as metadata carries it.
    """

    def __init__(self, store: ObjectStore, registry: Registry, *, now: Callable[[], str]) -> None:
        self._store = store
        self._registry = registry
        self._now = now

    def judge(
        self,
        resource: ResourceInfo,
        document: dict[str, Any],
        old: dict[str, Any] | None,
        options: WriteOptions,
        body: bytes,
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Prune, default and validate ``document``; returns what is to be stored, and warnings.

        Args:
            resource: its kind.
            document: prepared; changed in place.
            old: what it replaces; None: nothing.
            options: of the write.
            body: what the client sent; empty: nobody asks for what it names twice.

        Raises:
            StatusError: 422, it is invalid; 400 (422 of a patch), strictness was asked for, and a field is unknown.
        """
        causes: list[statuses.Cause] = []
        is_status = old is not None and document["metadata"] is old["metadata"]
        if not is_status:  # a write of a subresource leaves metadata as it is stored, which was judged before
            find_problem = _NAME_RULES.get(resource.group_resource, metadata.subdomain_problem)
            causes = metadata.validate(document["metadata"], find_problem=find_problem, is_custom=resource.custom)
        schema = self._registry.schema(resource)
        warnings: tuple[str, ...] = ()
        if schema is not None:
            warnings = _told_of(schema.prune(document), options, body)
            schema.default(document)
            try:
                causes = [*causes, *schema.validate(document, old)]
            except object_rules.MalformedError as error:
                problem = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
                raise statuses.undecodable(f"{problem}: {error}", is_patched=options.is_patch) from error
            if resource.scale is not None:
                causes += scaling.problems(resource.scale, document, is_status=is_status)
        elif resource is CUSTOM_RESOURCE_DEFINITIONS:
            group = crd_status.group_of(document["metadata"]["name"])
            entries = self._store.table(resource.store_key).entries()
            crds = [orjson.loads(entry.data) for entry in entries if crd_status.group_of(entry.name) == group]
            document, unknown, found = definitions.judged(
                document, old, crds, now=self._now(), is_patched=options.is_patch
            )
            warnings = _told_of(unknown, options, body)
            causes += found
        else:
            document, unknown, found = rules.judge(resource, document, old, is_patched=options.is_patch)
            warnings = _told_of(unknown, options, body)
            causes += found
        if causes:
            raise statuses.invalid(resource, document["metadata"].get("name", ""), causes)
        return document, warnings


def _told_of(dropped: list[str], options: WriteOptions, body: bytes) -> tuple[str, ...]:
    """Refuse, warn of or ignore unknown and duplicate fields, as asked; returns the warnings."""
    unknown = [f'unknown field "{path}"' for path in dropped]
    if body and options.finds_duplicates:
        unknown = duplicates.complaints(body) + unknown
    if not unknown or options.field_validation == "Ignore":
        return ()
    if options.field_validation == "Strict":
        raise statuses.undecodable(f"strict decoding error: {', '.join(unknown)}", is_patched=options.is_patch)
    return tuple(unknown)


def told_of_repeated(body: bytes, options: WriteOptions) -> tuple[str, ...]:
    """Refuse, warn of or ignore keys that an applied configuration names twice; returns the warnings.

    Raises:
        StatusError: 400, strictness was asked for.
    """
    repeated = [] if options.field_validation == "Ignore" else duplicates.yaml_complaints(body)
    if repeated and options.field_validation == "Strict":
        raise statuses.bad_request(f"error strict decoding YAML: {', '.join(repeated)}")
    return tuple(repeated)
