import logging

import pytest

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.controllers.background import log_refusal


@pytest.mark.parametrize(("code", "is_logged"), [(422, True), (403, True), (404, False), (409, False), (500, False)])
def test_what_the_server_refuses_itself_is_logged(caplog: pytest.LogCaptureFixture, code: int, *, is_logged: bool):
    """With object and status; not that something is gone or has changed, and not what is tried again."""
    with caplog.at_level(logging.WARNING):
        log_refusal("garbage collector", "things.example.com/a/b", statuses.StatusError(code, "Invalid", "it is wrong"))
    said = [(r.message, r.controller, r.key, r.code, r.error) for r in caplog.records]
    wanted = ("own write refused", "garbage collector", "things.example.com/a/b", code, "it is wrong")
    assert said == ([wanted] if is_logged else [])
