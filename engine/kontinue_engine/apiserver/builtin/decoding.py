"""Internal. JSON of Kubernetes' own kinds read and written back as Go does it.

What Go's decoder refuses is a 400, what it does not know is dropped and reported, and what its encoder leaves out or
puts in (``status: {}``, ``rules: null``) is left out or put in; so what is stored is what a real server would store,
whether it came as JSON, YAML or protobuf. Called by ``builtin.rules`` for every write. Pure.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import quantities, times, types
from kontinue_engine.apiserver.builtin.types import Field

_GO_NAMES: Final = {
    "s": "string",
    "i": "int32",
    "l": "int64",
    "d": "float64",
    "b": "bool",
    "y": "[]uint8",
}
_ZEROS: Final[dict[str, Any]] = {
    "s": "",
    "i": 0,
    "l": 0,
    "d": 0,
    "b": False,
    "y": "",
    "T": None,
    "M": None,
    "Q": "0",
    "I": 0,
}
_ANY_JSON: Final = frozenset("FR")
_LIMITS: Final = {"i": 2**31, "l": 2**63}


class Decoder:
    """Reads one document; ``unknown`` collects the paths of fields that no struct has.

    What cannot be read of a patched document is the patch's fault.
    """

    def __init__(self, kind: str, version: str, *, is_patched: bool = False) -> None:
        self._is_patched = is_patched
        self._subject = f'{kind} in version "{version}" cannot be handled as a {kind}'
        self.unknown: list[str] = []

    def struct(self, name: str, value: Any, path: str = "") -> dict[str, Any]:
        """Return ``value`` as the struct is encoded.

        Raises:
            StatusError: 400 or 422, a field has the wrong type.
        """
        fields = types.json_fields(name)
        result: dict[str, Any] = {}
        for key, given in value.items():
            field = fields.get(key)
            if field is None:
                if path or key not in {"apiVersion", "kind"}:
                    self.unknown.append(f"{path}{key}")
                else:
                    result[key] = given
            elif given is not None:
                decoded = self._field(name, field, given, f"{path}{key}")
                if not _is_left_out(field, decoded):
                    result[key] = decoded
        for key, empty in _always_there(name):
            if key not in result:
                result[key] = empty()
        return result

    def _field(self, struct: str, field: Field, value: Any, path: str) -> Any:
        where = f"{struct.rpartition('.')[2]}.{path}"
        if field.container == types.LIST:
            if not isinstance(value, list):
                raise self._mismatch(value, where, f"[]{_go_name(field.element)}")
            return [self._element(field.element, item, where, f"{path}[{index}]") for index, item in enumerate(value)]
        if field.container == types.MAP:
            if not isinstance(value, dict):
                raise self._mismatch(value, where, f"map[string]{_go_name(field.element)}")
            return {key: self._element(field.element, item, where, f"{path}.{key}") for key, item in value.items()}
        return self._element(field.element, value, where, path)

    def _element(self, code: str, value: Any, where: str, path: str) -> Any:
        if types.is_struct(code):
            if value is None:
                value = {}
            if not isinstance(value, dict):
                raise self._mismatch(value, where, _go_name(code))
            return self.struct(code, value, f"{path}.")
        if code.startswith(types.NAMED_LIST):
            if not isinstance(value, list):
                raise self._mismatch(value, where, "[]string")
            return [self._element("s", item, where, path) for item in value]
        if value is None:
            return _ZEROS.get(code)
        if code in _ANY_JSON:
            return value
        return self._scalar(code, value, where)

    def _scalar(self, code: str, value: Any, where: str) -> Any:
        match code:
            case "s" | "D" if isinstance(value, str):
                return value
            case "b" if isinstance(value, bool):
                return value
            case "i" | "l" if _is_integer(value) and -_LIMITS[code] <= value < _LIMITS[code]:
                return value
            case "d" if isinstance(value, int | float) and not isinstance(value, bool):
                return value
            case "I" if isinstance(value, str) or (_is_integer(value) and abs(value) < _LIMITS["i"]):
                return value
            case "y" if isinstance(value, str):
                return self._base64(value)
            case "T" | "M" if isinstance(value, str):
                return self._time(code, value)
            case "Q" if isinstance(value, str | int | float) and not isinstance(value, bool):
                return self._quantity(str(value))
        raise self._mismatch(value, where, _go_name(code))

    def _base64(self, text: str) -> str:
        try:
            decoded = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise self._refused("illegal base64 data") from None
        return base64.b64encode(decoded).decode()

    def _time(self, code: str, text: str) -> str:
        is_micro = code == "M"
        found = times.canonical_micro_time(text) if is_micro else times.canonical_time(text)
        if found is None:
            form = "2006-01-02T15:04:05.000000Z07:00" if is_micro else "2006-01-02T15:04:05Z07:00"
            raise self._refused(f'parsing time "{text[:100]}" as "{form}": cannot parse')
        return found

    def _quantity(self, text: str) -> str:
        found = quantities.canonical(text)
        if found is None:
            raise self._refused(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
        return found

    def _mismatch(self, value: Any, where: str, wanted: str) -> statuses.StatusError:
        name = _json_name(value)
        if name == "number" and wanted in {"int32", "int64"}:
            name = f"number {value}"
        return self._refused(f"json: cannot unmarshal {name} into Go struct field {where} of type {wanted}")

    def _refused(self, problem: str) -> statuses.StatusError:
        return statuses.undecodable(f"{self._subject}: {problem}", is_patched=self._is_patched)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_left_out(field: Field, value: Any) -> bool:
    """Tell whether Go's encoder leaves the field out though it was given."""
    if field.container:
        return not value  # where Go keeps it, as null: what is empty is not stored
    if field.emptiness in {types.POINTER, ""}:
        return False
    if types.is_struct(field.element) or field.element in "TM":
        return field.emptiness == types.OMITTED_WHEN_ZERO and not value
    return value in ("", 0, False, None) and field.element not in "QI"


Empty = Callable[[], Any]
_known: Final[dict[str, tuple[tuple[str, Empty], ...]]] = {}


def _always_there(struct: str) -> tuple[tuple[str, Empty], ...]:
    """Return what stands in the JSON of a struct even when it was not given, by name."""
    found = _known.get(struct)
    if found is None:
        fields = types.json_fields(struct).items()
        found = tuple((name, empty) for name, field in fields if (empty := _empty(field)) is not None)
        _known[struct] = found
    return found


def _empty(field: Field) -> Empty | None:
    if field.emptiness in {types.POINTER, types.OMITTED_WHEN_ZERO}:
        return None
    if field.container:
        return None if field.emptiness else lambda: None
    if types.is_struct(field.element):
        # omitempty has no effect on structs.
        return lambda: {name: empty() for name, empty in _always_there(field.element)}
    if field.element in "TM":
        return lambda: None
    if field.emptiness or field.element in _ANY_JSON:
        return None
    zero = _ZEROS[field.element]
    return lambda: zero


def _go_name(code: str) -> str:
    if types.is_struct(code):
        return code.rpartition("/")[2]
    return _GO_NAMES.get(code, {"Q": "resource.Quantity", "I": "intstr.IntOrString"}.get(code, "v1.Time"))


def _json_name(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"
