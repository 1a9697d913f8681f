"""Internal. Label and field selectors as the list API takes them, parsed once and then asked per object.

Commas mean AND; a label that is absent satisfies ``!=`` and ``notin``, a field that is absent counts as ``""``.
What cannot be parsed is a 400 that says why. An object tells its fields by ``object_store.Entry.field``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sized
from typing import Final

import msgspec

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.schemas import metadata

_WORD: Final = r"[^\s=!,()<>]"
_LABEL_TERM: Final = re.compile(
    rf"\s*+(?:!\s*+(?P<absent>{_WORD}++)"
    rf"|(?P<key>{_WORD}++)(?:\s*+(?P<equality>==|=|!=|>|<)\s*+(?P<value>{_WORD}*+)"
    r"|\s++(?P<membership>in|notin)\s*+\((?P<values>[^()]*+)\))?)\s*+(?P<end>,|$)"
)
"""Possessive throughout: what was taken is not given back, or refusing a long text would take its length squared."""
_FIELD_TERM: Final = re.compile(
    r"(?P<field>[^=!,\\]*)(?P<operator>==|=|!=)(?P<value>(?:[^=,\\]|\\[\\,=])*)(?:,|$)", re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\([\\,=])")
MAX_TERMS: Final = 256
"""Judgement: every term is asked of every object of a list and of every event of a watch."""
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,63}")
_MAX_NUMBER: Final = 2**63 - 1


class LabelRequirement(msgspec.Struct, frozen=True):
    """One term: the key, whether the values are wanted or excluded; ``values`` None asks for the key itself.

    With ``above`` or ``below`` it asks for a whole number on that side of it.
    """

    key: str
    is_wanted: bool
    values: frozenset[str] | None = None
    above: int | None = None
    below: int | None = None

    def is_within(self, value: str | None) -> bool:
        """Tell whether a label's value is a whole number within the bounds."""
        number = _whole_number(value or "")
        if number is None:
            return False
        return (self.above is None or number > self.above) and (self.below is None or number < self.below)


class LabelSelector(msgspec.Struct, frozen=True):
    """A parsed label selector."""

    requirements: tuple[LabelRequirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is selected."""
        for term in self.requirements:
            value = labels.get(term.key)
            if term.values is not None:
                has = value in term.values
            elif term.above is None and term.below is None:
                has = value is not None
            else:
                has = term.is_within(value)
            if has is not term.is_wanted:
                return False
        return True


class FieldRequirement(msgspec.Struct, frozen=True):
    """One term: field, value, and whether it must be equal or different."""

    field: str
    is_wanted: bool
    value: str


class FieldSelector(msgspec.Struct, frozen=True):
    """A parsed field selector."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, field: Callable[[str], str]) -> bool:
        """Tell whether the object that ``field`` tells the fields of is selected."""
        for term in self.requirements:  # noqa: SIM110 - asked for every event and watch; a generator costs twice as much
            if (field(term.field) == term.value) is not term.is_wanted:
                return False
        return True

    def renamed(self, aliases: Mapping[str, str]) -> FieldSelector:
        """Return the selector with the names that ``aliases`` has for its fields."""
        return FieldSelector(
            tuple(
                FieldRequirement(aliases.get(term.field, term.field), is_wanted=term.is_wanted, value=term.value)
                for term in self.requirements
            )
        )

    def exact(self, field: str) -> str | None:
        """Return the value that ``field`` must have, or None: lets a list by name read one object."""
        return next((term.value for term in self.requirements if term.is_wanted and term.field == field), None)


def parse_label_selector(text: str) -> LabelSelector:
    """Parse ``a=b,c!=d,e in (f,g),h notin (i),j,!k``.

    Raises:
        StatusError: 400, the text is no selector, or a key or value has the wrong syntax.
    """
    requirements: list[LabelRequirement] = []
    position, expects_term = 0, bool(text.strip())
    while expects_term:
        _check_count(requirements)
        match = _LABEL_TERM.match(text, position)
        if match is None:
            raise statuses.bad_request(f"unable to parse requirement: label selector {text!r} at {text[position:]!r}")
        requirements.append(_label_requirement(match))
        position, expects_term = match.end(), match["end"] == ","
    return LabelSelector(tuple(requirements))


def _label_requirement(match: re.Match[str]) -> LabelRequirement:
    key = match["absent"] or match["key"]
    if problem := metadata.qualified_name_problem(key):
        raise statuses.bad_request(f"unable to parse requirement: key {key!r}: {problem}")
    if match["equality"] in {">", "<"}:
        return _bound(key, match["equality"], match["value"])
    if match["equality"]:
        values = frozenset({match["value"]})
    elif match["membership"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
    else:
        return LabelRequirement(key, is_wanted=match["absent"] is None)
    for value in values:
        if problem := metadata.label_value_problem(value):
            raise statuses.bad_request(f"unable to parse requirement: value {value!r} of {key!r}: {problem}")
    return LabelRequirement(key, is_wanted=match["equality"] != "!=" and match["membership"] != "notin", values=values)


def _bound(key: str, operator: str, text: str) -> LabelRequirement:
    bound = _whole_number(text)
    if bound is None:
        raise statuses.bad_request(
            f"unable to parse requirement: value {text!r} of {key!r}: for > and < the value must be an integer"
        )
    return LabelRequirement(
        key, is_wanted=True, above=bound if operator == ">" else None, below=bound if operator == "<" else None
    )


def _whole_number(text: str) -> int | None:
    """Read a number of at most 64 bits; labels have no sign."""
    number = int(text) if _WHOLE_NUMBER.fullmatch(text) else _MAX_NUMBER + 1
    return number if number <= _MAX_NUMBER else None


def _check_count(requirements: Sized) -> None:
    if len(requirements) >= MAX_TERMS:
        raise statuses.bad_request(f"a selector may have {MAX_TERMS} terms at most")


def parse_field_selector(text: str, supported: Collection[str]) -> FieldSelector:
    r"""Parse ``a=b,c!=d``; ``\``, ``,`` and ``=`` inside values are escaped by ``\``.

    Raises:
        StatusError: 400, the text is no selector or names a field that is not in ``supported``.
    """
    requirements: list[FieldRequirement] = []
    position = 0
    while position < len(text):
        if text[position] == ",":
            position += 1
            continue
        _check_count(requirements)
        match = _FIELD_TERM.match(text, position)
        if match is None:
            raise statuses.bad_request(f"invalid selector: {text!r}; can't understand {text[position:]!r}")
        if match["field"] not in supported:
            raise statuses.bad_request(f"field label not supported: {match['field']}")
        value = _ESCAPED.sub(r"\1", match["value"])
        requirements.append(FieldRequirement(match["field"], is_wanted=match["operator"] != "!=", value=value))
        position = match.end()
    return FieldSelector(tuple(requirements))
