"""Internal. Strategic merge patch, as far as the built-in kinds need it that this server stores.

Objects merge as in a merge patch; the lists of metadata and conditions merge by their key, other lists are replaced.
Of the directives, ``$patch``, ``$retainKeys`` and ``$deleteFromPrimitiveList`` are obeyed and ``$setElementOrder`` is
dropped: order means nothing in these lists. Custom kinds answer 415 and never come here. Called by the handlers.
"""

from __future__ import annotations

from typing import Any, Final

from kontinue_engine.apiserver import statuses

_MERGE_KEYS: Final = {"ownerReferences": "uid", "conditions": "type", "secrets": "name", "imagePullSecrets": "name"}
_PRIMITIVE_LISTS: Final = frozenset({"finalizers"})
_DELETE_VALUES: Final = "$deleteFromPrimitiveList/"


def apply_strategic_patch(document: Any, patch: Any) -> Any:
    """Return ``document`` changed by ``patch``; neither is changed itself.

    Raises:
        StatusError: 400, a directive has a wrong form or the patch is nested too deeply.
    """
    try:
        return _merged(document, patch)
    except RecursionError:
        raise statuses.bad_request("strategic merge patch is nested too deeply") from None


def _merged(document: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    match patch.get("$patch", "merge"):
        case "replace":
            merged = {}
        case "delete":
            return {}
        case "merge":
            pass
        case other:
            raise statuses.bad_request(f"unknown $patch directive {other!r}")
    if "$retainKeys" in patch:
        kept = _list_of(patch, "$retainKeys")
        merged = {key: value for key, value in merged.items() if key in kept}
    for key, value in patch.items():
        if key.startswith(_DELETE_VALUES):
            field, dropped = key.removeprefix(_DELETE_VALUES), _list_of(patch, key)
            if isinstance(merged.get(field), list):
                merged[field] = [item for item in merged[field] if item not in dropped]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, list):
            merged[key] = _merged_list(key, merged.get(key), value)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _merged_list(field: str, items: Any, patches: list[Any]) -> list[Any]:
    before = items if isinstance(items, list) else []
    if field in _PRIMITIVE_LISTS:
        return [*before, *(value for value in patches if value not in before)]
    merge_key = _MERGE_KEYS.get(field)
    if merge_key is None:
        return patches
    by_key = {item.get(merge_key): item for item in before if isinstance(item, dict)}
    for patch in patches:
        if not isinstance(patch, dict) or not isinstance(patch.get(merge_key), str):
            raise statuses.bad_request(f"items of {field} need {merge_key} in a strategic merge patch")
        if patch.get("$patch") == "delete":
            by_key.pop(patch[merge_key], None)
        else:
            by_key[patch[merge_key]] = _merged(by_key.get(patch[merge_key]), patch)
    return list(by_key.values())


def _list_of(patch: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(patch[key], list):
        raise statuses.bad_request(f"{key} must be an array")
    values: list[Any] = patch[key]
    return values
