"""Selectors of Executions, as the API server understands them. Pure; called by ``Client.iterate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import Phase


class Selectors(msgspec.Struct, frozen=True):
    """A label selector and a field selector; empty ones select everything."""

    labels: str
    fields: str


def execution_selectors(
    *,
    function: str | None,
    wanted_labels: Mapping[str, str],
    root: str | None,
    schedule: str | None,
    worker_group: str | None,
    phases: Sequence[Phase | str],
    only_root: bool,
) -> Selectors:
    """Return the selectors; arguments as in ``Client.iterate``.

    Field selectors know only AND and ``!=``, so phases are chosen by leaving out all others. A new object has none.

    Raises:
        ValueError: ``phases`` names one that does not exist.
    """
    by_label = dict(wanted_labels)
    for key, value in ((labels.ROOT, root), (labels.SCHEDULE, schedule), (labels.WORKER_GROUP, worker_group)):
        if value is not None:
            by_label[key] = labels.label_value(value)
    label_terms = [f"{key}={value}" for key, value in by_label.items()]
    if only_root:
        label_terms.append(f"!{labels.ROOT}")
    field_terms = [f"spec.function={function}"] if function is not None else []
    if phases:
        wanted = {Phase(phase) for phase in phases}
        left_out = ["", *Phase] if Phase.PENDING not in wanted else [*Phase]
        field_terms.extend(f"status.phase!={phase}" for phase in left_out if phase not in wanted)
    return Selectors(",".join(label_terms), ",".join(field_terms))
