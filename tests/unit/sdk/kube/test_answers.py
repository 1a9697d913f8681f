"""An answer that does not fit its type is an error that says which object, where, and what may be the cause."""

import pytest

from kontinue import errors
from kontinue.api.meta import ObjectList
from kontinue.api.v1alpha1 import Execution
from kontinue.kube.answers import reader


def test_what_fits_is_read():
    """As the type that was asked for."""
    body = b'{"metadata":{"name":"x"},"spec":{"function":"f"}}'
    assert reader(Execution)(body).spec.function == "f"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"metadata":{"name":"x","namespace":"ns"},"spec":{"function":5}}', r"ns/x is no Execution .* `\$.spec.func"),
        (b'{"metadata":5}', r"the API server's answer is no Execution"),
        (b'{"metadata":{"name":"x","namespace":"ns"}}', r"required field `spec`.*kontinue doctor"),
    ],
)
def test_what_does_not_fit_is_an_error_of_ours(body, message):
    """It names the object, if it has a name, and the field."""
    with pytest.raises(errors.ApiError, match=message):
        reader(Execution)(body)


def test_lists_say_what_they_list():
    """They have no name."""
    with pytest.raises(errors.ApiError, match="answer is no list of Executions"):
        reader(ObjectList[Execution], what="list of Executions")(b'{"items":5}')
