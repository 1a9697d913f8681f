"""What is to be applied must be of the kind that the path says."""

from __future__ import annotations

import orjson
import pytest

from kontinue_engine.apiserver.apply import options
from kontinue_engine.apiserver.resources import CONFIG_MAPS
from kontinue_engine.apiserver.statuses import StatusError


@pytest.mark.parametrize(
    "wrong",
    [{"apiVersion": 1}, {"apiVersion": None}, {"kind": ["ConfigMap"]}, {"apiVersion": {}, "kind": 1.5}, {"kind": "x"}],
)
def test_a_type_that_is_no_text_or_another_one_is_refused(wrong: dict[str, object]) -> None:
    """400, whatever it is; fuzzing found that a number was a 500."""
    body = orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, **wrong})
    with pytest.raises(StatusError, match="invalid object type") as caught:
        options.parse_configuration(CONFIG_MAPS, body)
    assert caught.value.code == 400
