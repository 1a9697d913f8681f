"""Internal. Whether a CustomResourceDefinition may be stored: names, versions, columns, subresources, changes.

Its schema is judged by ``kontinue_engine.apiserver.custom.structural``, its status is made by
``kontinue_engine.apiserver.custom.crd_status``. Fields are named as kube-apiserver names them, also where its own
older form shows through. Called by the handlers. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kontinue_engine.apiserver.custom import crd_status, crd_types, structural
from kontinue_engine.apiserver.schemas import metadata
from kontinue_engine.apiserver.statuses import Cause, cause

_APPROVAL: Final = "api-approved.kubernetes.io"
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MAX_DEPRECATION_CHARS: Final = 256
_IMMUTABLE: Final = "field is immutable"


def judged(
    crd: dict[str, Any],
    old: dict[str, Any] | None,
    others: Iterable[dict[str, Any]],
    *,
    now: str,
    is_patched: bool = False,
) -> tuple[dict[str, Any], list[str], list[Cause]]:
    """Return a CRD as it is to be stored, the members that it should not have, and why it cannot be stored.

    Raises:
        StatusError: 400 (422 when ``is_patched``), something has a type that it cannot have.
    """
    normal, unknown = crd_types.normalized(crd, is_patched=is_patched)
    # What was accepted once is not judged again: a write of the status or a label leaves the spec as it is.
    causes = [] if old is not None and old["spec"] == normal["spec"] else problems(normal, old)
    return (normal if causes else crd_status.with_status(normal, others, now=now)), unknown, causes


def problems(crd: dict[str, Any], old: dict[str, Any] | None) -> list[Cause]:
    """Return why a normalized ``crd`` cannot be stored, as a new one or (``old``) instead of another; empty: it can.

    Raises:
        StatusError: 400, something has a type that it cannot have.
    """
    spec = crd_types.parse(crd)
    causes = [*_metadata_problems(crd, spec), *_spec_problems(spec), *_name_problems(spec.names)]
    causes += _version_problems(spec)
    if old is not None:
        causes += _change_problems(crd, old, spec, crd_types.parse(old))
    return causes


def _metadata_problems(crd: dict[str, Any], spec: crd_types.Spec) -> Iterator[Cause]:
    name = crd["metadata"].get("name")
    if name != f"{spec.names.plural}.{spec.group}":
        detail = 'must be spec.names.plural+"."+spec.group'
        yield cause("FieldValueInvalid", "metadata.name", value=name, detail=detail)
    if spec.group.endswith((".k8s.io", ".kubernetes.io")) and _APPROVAL not in (
        crd["metadata"].get("annotations") or {}
    ):
        detail = f'protected groups must have approval annotation "{_APPROVAL}"'
        yield cause("FieldValueRequired", f"metadata.annotations[{_APPROVAL}]", detail=detail)


def _spec_problems(spec: crd_types.Spec) -> Iterator[Cause]:
    if not spec.group:
        yield cause("FieldValueRequired", "spec.group")
    elif problem := metadata.subdomain_problem(spec.group):
        yield cause("FieldValueInvalid", "spec.group", value=spec.group, detail=problem)
    elif "." not in spec.group:
        detail = "should be a domain with at least one dot"
        yield cause("FieldValueInvalid", "spec.group", value=spec.group, detail=detail)
    yield from _one_of("spec.scope", spec.scope, ("Cluster", "Namespaced"))
    if spec.preserve_unknown_fields:
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        yield cause("FieldValueInvalid", "spec.preserveUnknownFields", value=True, detail=detail)
    conversion = spec.conversion or crd_types.Conversion()
    if conversion.strategy == "Webhook":
        detail = "this server does not call webhooks; use None"
        yield cause("FieldValueInvalid", "spec.conversion.strategy", value="Webhook", detail=detail)
    else:
        yield from _one_of("spec.conversion.strategy", conversion.strategy, ("None", "Webhook"))
        if conversion.webhook:
            detail = "should not be set when strategy is not set to Webhook"
            yield cause("FieldValueForbidden", "spec.conversion.webhookClientConfig", detail=detail)


def _one_of(path: str, value: str, supported: Sequence[str]) -> Iterator[Cause]:
    if not value:
        yield cause("FieldValueRequired", path)
    elif value not in supported:
        listed = ", ".join(f'"{one}"' for one in supported)
        yield cause("FieldValueNotSupported", path, value=value, detail=f"supported values: {listed}")


def _name_problems(names: crd_types.Names) -> Iterator[Cause]:
    at = "spec.names"
    single = {"plural": names.plural, "singular": names.singular, "kind": names.kind, "listKind": names.list_kind}
    for key, value in single.items():
        if not value:
            yield cause("FieldValueRequired", f"{at}.{key}")
        elif problem := metadata.dns_1035_label_problem(value.lower() if "ind" in key else value):
            mixed = "may have mixed case, but should otherwise match: " if "ind" in key else ""
            yield cause("FieldValueInvalid", f"{at}.{key}", value=value, detail=mixed + problem)
    for key, values in (("shortNames", names.short_names), ("categories", names.categories)):
        for index, value in enumerate(values or ()):
            if problem := metadata.dns_1035_label_problem(value):
                yield cause("FieldValueInvalid", f"{at}.{key}[{index}]", value=value, detail=problem)
    if names.kind and names.kind == names.list_kind:
        detail = "kind and listKind may not be the same"
        yield cause("FieldValueInvalid", f"{at}.listKind", value=names.list_kind, detail=detail)


def _version_problems(spec: crd_types.Spec) -> Iterator[Cause]:
    versions = spec.versions
    names = [version.name for version in versions]
    if len(set(names)) != len(names):
        yield cause("FieldValueInvalid", "spec.versions", value=names, detail="must contain unique version names")
    stored = [version.name for version in versions if version.storage]
    if len(stored) != 1:
        detail = "must have exactly one version marked as storage version"
        yield cause("FieldValueInvalid", "spec.versions", value=names, detail=detail)
        detail = f"must have the storage version {stored[-1]}" if stored else "must have at least one stored version"
        yield cause("FieldValueInvalid", "status.storedVersions", value=stored[:1], detail=detail)
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        if problem := metadata.dns_1035_label_problem(version.name):
            yield cause("FieldValueInvalid", f"{at}.name", value=version.name, detail=problem)
            if index == 0:
                yield cause("FieldValueInvalid", "spec.version", value=version.name, detail=problem)
        if version.schema is None or version.schema.open_api_v3_schema is None:
            yield cause("FieldValueRequired", f"{at}.schema.openAPIV3Schema", detail="schemas are required")
        yield from _deprecation_problems(version, at)
    # What is equal in all versions belongs to the spec as a whole, for kube-apiserver, and is named and judged so.
    for path, version, part in _parts(versions, "schema"):
        if part.open_api_v3_schema is not None:
            has_status = bool(version.subresources and version.subresources.status is not None)
            at = f"{path.replace('spec.schema', 'spec.validation')}.openAPIV3Schema"
            yield from structural.problems(part.open_api_v3_schema, at, has_status=has_status)
    for path, _, part in _parts(versions, "subresources"):
        yield from _scale_problems(part.scale, f"{path}.scale")
    for path, _, part in _parts(versions, "additional_printer_columns"):
        for index, column in enumerate(part):
            yield from _column_problems(column, f"{path}[{index}]")
    for path, version, part in _parts(versions, "selectable_fields"):
        schema = version.schema.open_api_v3_schema if version.schema else None
        yield from structural.selectable_field_problems(part, schema or crd_types.Schema(), path)


def _parts(versions: Sequence[crd_types.Version], name: str) -> Iterator[tuple[str, crd_types.Version, Any]]:
    """Return (path, version, value) of one member of the versions, once if it is the same in all."""
    values = [getattr(version, name) for version in versions]
    first, *words = name.split("_")
    key = first + "".join(word.capitalize() for word in words)
    if values and all(value == values[0] for value in values):
        if values[0] is not None:
            yield f"spec.{key}", versions[0], values[0]
        return
    for index, (version, value) in enumerate(zip(versions, values, strict=True)):
        if value is not None:
            yield f"spec.versions[{index}].{key}", version, value


def _deprecation_problems(version: crd_types.Version, at: str) -> Iterator[Cause]:
    warning = version.deprecation_warning
    if warning is None:
        return
    for is_wrong, detail in (
        (not version.deprecated, "can only be set for deprecated versions"),
        (len(warning) > _MAX_DEPRECATION_CHARS, f"must be <= {_MAX_DEPRECATION_CHARS} characters long"),
        (not warning, "must not be an empty string"),
        (not warning.isprintable(), "must only contain printable UTF-8 characters"),
    ):
        if is_wrong:
            yield cause("FieldValueInvalid", f"{at}.deprecationWarning", value=warning, detail=detail)


def _scale_problems(scale: crd_types.Scale | None, at: str) -> Iterator[Cause]:
    if scale is None:
        return
    yield from _path_problems(scale.spec_replicas_path, f"{at}.specReplicasPath", (".spec.",), ".spec")
    yield from _path_problems(scale.status_replicas_path, f"{at}.statusReplicasPath", (".status.",), ".status")
    if scale.label_selector_path:
        both = (".spec.", ".status.")
        yield from _path_problems(scale.label_selector_path, f"{at}.labelSelectorPath", both, "either .spec or .status")


def _path_problems(path: str, at: str, prefixes: tuple[str, ...], under: str) -> Iterator[Cause]:
    if not path:
        yield cause("FieldValueRequired", at)
    elif not path.startswith("."):
        detail = "must be a simple json path starting with ."
        yield cause("FieldValueInvalid", at, value=path, detail=detail)
    elif not path.startswith(prefixes):
        yield cause("FieldValueInvalid", at, value=path, detail=f"should be a json path under {under}")


def _column_problems(column: crd_types.Column, at: str) -> Iterator[Cause]:
    if not column.name:
        yield cause("FieldValueRequired", f"{at}.name")
    if not column.type:
        yield cause("FieldValueRequired", f"{at}.type", detail=f"must be one of {','.join(_COLUMN_TYPES)}")
    elif column.type not in _COLUMN_TYPES:
        detail = f"must be one of {','.join(_COLUMN_TYPES)}"
        yield cause("FieldValueInvalid", f"{at}.type", value=column.type, detail=detail)
    if column.format and column.format not in _COLUMN_FORMATS:
        detail = f"must be one of {','.join(_COLUMN_FORMATS)}"
        yield cause("FieldValueInvalid", f"{at}.format", value=column.format, detail=detail)
    if not column.json_path:
        yield cause("FieldValueRequired", f"{at}.JSONPath")
    elif not column.json_path.startswith("."):
        detail = "must be a simple json path starting with ."
        yield cause("FieldValueInvalid", f"{at}.JSONPath", value=column.json_path, detail=detail)


def _change_problems(
    crd: dict[str, Any], old: dict[str, Any], new_spec: crd_types.Spec, old_spec: crd_types.Spec
) -> Iterator[Cause]:
    fixed = [("group", new_spec.group, old_spec.group), ("names.plural", new_spec.names.plural, old_spec.names.plural)]
    if crd_status.is_established(old):
        fixed = [
            ("scope", new_spec.scope, old_spec.scope),
            ("names.kind", new_spec.names.kind, old_spec.names.kind),
            *fixed,
        ]
    for key, new, before in fixed:
        if new != before:
            yield cause("FieldValueInvalid", f"spec.{key}", value=new, detail=_IMMUTABLE)
    names = {version.name for version in new_spec.versions}
    for index, stored in enumerate((crd.get("status") or {}).get("storedVersions") or ()):
        if stored not in names:
            detail = (
                f"missing from spec.versions; {stored} was previously a storage version and must remain there "
                "until no object is stored in it and status.storedVersions no longer names it"
            )
            yield cause("FieldValueInvalid", f"status.storedVersions[{index}]", value=stored, detail=detail)
