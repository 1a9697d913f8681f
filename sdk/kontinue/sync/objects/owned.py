"""Objects that belong to another one: Permits, LeaseRequests and Arrivals. Called by all who create one."""

from __future__ import annotations

from typing import Protocol

from kontinue.api.konductor.child_names import label_value
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.kube.reflector import HasMetadata


class Parent(HasMetadata, Protocol):
    """An object to which others belong."""

    @property
    def api_version(self) -> str:
        """Its group and version."""
        ...

    @property
    def kind(self) -> str:
        """Its kind."""
        ...


def child_meta(parent: Parent, name: str, *, label: str) -> ObjectMeta:
    """Return the metadata of an object that belongs to ``parent``, is deleted with it and found by ``label``."""
    meta = parent.metadata
    owner = OwnerReference(
        api_version=parent.api_version, kind=parent.kind, name=meta.name, uid=meta.uid, controller=True
    )
    return ObjectMeta(name=name, labels={label: label_value(meta.name)}, owner_references=[owner])
