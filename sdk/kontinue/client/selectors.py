"""Selectors of Executions, as the API server understands them. Pure; called by ``Client.iterate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution, Phase


class Selectors(msgspec.Struct, frozen=True):
    """A label selector and a field selector; empty ones select everything."""

    labels: str
    fields: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which Executions are wanted; fields as the arguments of ``Client.iterate``.

    Attributes:
        labels: all that they must carry.
        phases: phases that they may be in; empty means all.
    """

    function: str | None
    labels: Mapping[str, str]
    root: str | None
    phases: frozenset[Phase]
    only_root: bool

    def fits(self, execution: Execution) -> bool:
        """Tell whether an Execution is wanted, as a server would."""
        found = execution.metadata.labels
        return (
            self.function in (None, execution.spec.function)
            and (not self.phases or execution.phase in self.phases)
            and all(found.get(key) == value for key, value in self.labels.items())
            and not (self.only_root and labels.ROOT in found)
        )

    def selectors(self) -> Selectors:
        """Return it as an API server understands it.

        Field selectors know only AND and ``!=``, so phases are chosen by leaving out all others. A new object has none.
        """
        label_terms = [f"{key}={value}" for key, value in self.labels.items()]
        if self.only_root:
            label_terms.append(f"!{labels.ROOT}")
        field_terms = [f"spec.function={self.function}"] if self.function is not None else []
        if self.phases:
            left_out = ["", *Phase] if Phase.PENDING not in self.phases else [*Phase]
            field_terms.extend(f"status.phase!={phase}" for phase in left_out if phase not in self.phases)
        return Selectors(",".join(label_terms), ",".join(field_terms))


def execution_filter(
    *,
    function: str | None,
    wanted_labels: Mapping[str, str],
    root: str | None,
    schedule: str | None,
    worker_group: str | None,
    phases: Sequence[Phase | str],
    only_root: bool,
) -> Filter:
    """Return the filter; arguments as in ``Client.iterate``.

    Raises:
        ValueError: ``phases`` names one that does not exist.
    """
    by_label = dict(wanted_labels)
    for key, value in ((labels.ROOT, root), (labels.SCHEDULE, schedule), (labels.WORKER_GROUP, worker_group)):
        if value is not None:
            by_label[key] = labels.label_value(value)
    return Filter(
        function=function,
        labels=by_label,
        root=root,
        phases=frozenset(map(Phase, phases)),
        only_root=only_root,
    )
