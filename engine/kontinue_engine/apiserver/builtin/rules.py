"""Internal. What happens to an object of Kubernetes' own kinds between preparation and storage.

Read as Go reads it, defaults, what the server itself writes, rules: ``judge`` does all four, for creates and updates
alike. Called by ``kontinue_engine.apiserver.objects.judging`` in the place where custom objects meet their schema.
Pure.
"""

from __future__ import annotations

from typing import Any

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import defaulting, events, strategies, types, validation
from kontinue_engine.apiserver.builtin.decoding import Decoder
from kontinue_engine.apiserver.resources import EVENTS, ResourceInfo


def judge(
    resource: ResourceInfo, document: dict[str, Any], old: dict[str, Any] | None, *, is_patched: bool = False
) -> tuple[dict[str, Any], list[str], list[statuses.Cause]]:
    """Return what is to be stored, the paths of unknown fields, and why it cannot be stored.

    Raises:
        StatusError: 400 (422 when ``is_patched``), a field has the wrong type.
    """
    struct = types.struct_of(resource.group, resource.version, resource.kind)
    if struct is None:  # CustomResourceDefinition, which has rules of its own
        return document, [], []
    decoder = Decoder(resource.kind, resource.version, is_patched=is_patched)
    judged = decoder.struct(struct, document)
    if resource.store_key == EVENTS.store_key and resource is not EVENTS:
        judged = events.to_core(judged)
    if struct == "core/v1.Pod" and old is None:
        judged["status"] = {}
    defaulting.apply_defaults(struct, judged)
    strategies.prepare(struct, judged, old)
    if old is not None and document["metadata"] is old["metadata"]:
        return judged, decoder.unknown, []  # of a subresource: the rest is as it was judged before
    return judged, decoder.unknown, validation.problems(struct, judged, old)
