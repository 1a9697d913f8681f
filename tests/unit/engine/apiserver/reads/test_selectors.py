from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver import resources
from kontinue_engine.apiserver.reads import selectors
from kontinue_engine.apiserver.statuses import StatusError

FIELDS = ("metadata.name", "status.phase")
LABELS = {"app": "web", "tier": "", "example.com/zone": "eu-1", "size": "07"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("  ", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("missing!=web", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("tier=", True),
        ("tier", True),
        ("app in (web,db)", True),
        ("app in ( db , cache )", False),
        ("app in(web)", True),
        ("tier in (a,)", True),
        ("app notin (db)", True),
        ("missing notin (db)", True),
        ("app notin (web, db)", False),
        ("example.com/zone=eu-1,app=web,!missing", True),
        ("example.com/zone=eu-1,app=db", False),
        ("app in (web,db),tier=", True),
        ("size>6", True),
        ("size > 7", False),
        ("size<8,size>5", True),
        ("size<7", False),
        ("app>1", False),
        ("missing<1", False),
        ("in=x", False),
        ("!in", True),
    ],
)
def test_label_selectors_match_as_in_kubernetes(text: str, *, expected: bool):
    """Every operator, alone and joined by commas, on present, empty and missing labels."""
    assert selectors.parse_label_selector(text).matches(LABELS) is expected


@pytest.mark.parametrize(
    "text",
    [
        "=web",
        "app=web,",
        ",app=web",
        "app=web=db",
        "app in web",
        "app in (web",
        "app in (web) db",
        "app>web",
        "app>",
        "app>-1",
        "app>=1",
        f"app>{2**63}",
        "a b",
        "!",
        "-app=web",
        "app=-web",
        "app in (we b)",
        f"{'a' * 64}=x",
        f"app={'a' * 64}",
        "UPPER.example.com/a=b",
    ],
)
def test_a_malformed_label_selector_is_a_bad_request(text: str):
    """What cannot be understood must not select everything."""
    with pytest.raises(StatusError) as caught:
        selectors.parse_label_selector(text)
    assert caught.value.code == 400
    assert "unable to parse requirement" in caught.value.message


def test_a_selector_of_very_many_terms_is_a_bad_request():
    """Every term is asked of every object, so their number must have a limit."""
    for parse in (selectors.parse_label_selector, lambda text: selectors.parse_field_selector(text, FIELDS)):
        parse(",".join(["metadata.name=a"] * selectors.MAX_TERMS))
        with pytest.raises(StatusError, match="terms at most") as caught:
            parse(",".join(["metadata.name=a"] * (selectors.MAX_TERMS + 1)))
        assert caught.value.code == 400


keys = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
values = st.from_regex(r"[a-z0-9]{0,5}", fullmatch=True)


@given(st.dictionaries(keys, values), keys, st.lists(values, min_size=1, max_size=4))
def test_in_is_any_of_and_notin_is_its_negation(labels: dict[str, str], key: str, wanted: list[str]):
    """``in`` equals the disjunction of ``=``, and ``notin`` its complement, whatever the labels."""
    listed = ",".join(wanted)
    is_in = selectors.parse_label_selector(f"{key} in ({listed})").matches(labels)
    assert is_in is any(selectors.parse_label_selector(f"{key}={value}").matches(labels) for value in wanted)
    assert selectors.parse_label_selector(f"{key} notin ({listed})").matches(labels) is not is_in


@given(st.dictionaries(keys, values), st.lists(st.tuples(keys, st.sampled_from(["=", "!="]), values), max_size=5))
def test_a_comma_means_and(labels: dict[str, str], terms: list[tuple[str, str, str]]):
    """A selector of several terms matches exactly what each term matches."""
    texts = ["".join(term) for term in terms]
    expected = all(selectors.parse_label_selector(text).matches(labels) for text in texts)
    assert selectors.parse_label_selector(",".join(texts)).matches(labels) is expected


@given(st.text(max_size=40))
def test_any_text_parses_or_is_a_bad_request(text: str):
    """No input from outside raises anything else."""
    for parse in (selectors.parse_label_selector, lambda text: selectors.parse_field_selector(text, FIELDS)):
        try:
            parse(text)
        except StatusError as error:
            assert error.code == 400  # noqa: PT017 - both outcomes are right


def asked(fields: dict[str, str]) -> Callable[[str], str]:
    """Return how an object with these fields is asked for them."""
    return lambda field: fields.get(field, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a", True),
        ("metadata.name=b", False),
        ("metadata.name!=b", True),
        ("status.phase!=Completed", True),
        ("status.phase=", True),
        ("status.phase=Completed", False),
        ("metadata.name=a,status.phase!=Failed", True),
        (",metadata.name=a,", True),
        ("metadata.name=a,metadata.name=b", False),
    ],
)
def test_field_selectors_take_a_missing_field_for_empty(text: str, *, expected: bool):
    """``status.phase!=Completed`` must select objects that have no status yet."""
    assert selectors.parse_field_selector(text, FIELDS).matches(asked({"metadata.name": "a"})) is expected


def test_an_unsupported_field_is_named():
    """The message is Kubernetes' own, so that clients recognise it."""
    with pytest.raises(StatusError, match=r"field label not supported: spec\.x") as caught:
        selectors.parse_field_selector("spec.x=1", FIELDS)
    assert caught.value.code == 400


@pytest.mark.parametrize("text", ["metadata.name", "metadata.name=a=b", "metadata.name=a\\b", "a,b"])
def test_a_malformed_field_selector_is_a_bad_request(text: str):
    """Half a selector must not select everything."""
    with pytest.raises(StatusError, match="invalid selector"):
        selectors.parse_field_selector(text, FIELDS)


@given(st.text(max_size=20))
def test_escaped_values_are_compared_as_they_were(value: str):
    """A backslash escapes comma, equals sign and itself."""
    escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    selector = selectors.parse_field_selector(f"metadata.name={escaped}", FIELDS)
    assert selector.exact("metadata.name") == value
    assert selector.matches(asked({"metadata.name": value}))


def test_exact_finds_only_terms_that_demand_one_value():
    """A list by name may read one object, a list without a name may not."""
    selector = selectors.parse_field_selector("status.phase!=Failed,metadata.name=a", FIELDS)
    assert selector.exact("metadata.name") == "a"
    assert selector.exact("status.phase") is None


def test_events_are_found_by_their_object():
    """As kubectl describe asks for them."""
    selector = selectors.parse_field_selector(
        "involvedObject.name=a,involvedObject.kind=Execution", resources.EVENTS.field_selectors
    )
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "a", "kind": "Execution"}}
    assert selector.matches(asked(resources.field_values(resources.EVENTS, event)))


@pytest.mark.timeout(20)  # once hours
@pytest.mark.parametrize(
    "text", ["a=" + " " * 1_000_000 + "(", "a" + " " * 1_000_000 + "(", "a in" + " " * 1_000_000 + "x", "=" * 1_000_000]
)
def test_a_long_selector_that_is_none_costs_its_length(text: str):
    """Not its length squared: it is read while everybody waits."""
    with pytest.raises(StatusError, match="unable to parse requirement"):
        selectors.parse_label_selector(text)
