import pytest

from kontinue_engine.processes import describe_exit, give_memory_back


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL (by the kernel if the machine or container ran out of memory)"),
        (-63, "was killed by signal 63"),
        (None, "ended, nobody knows how"),
    ],
)
def test_an_exit_is_described_in_words(code: int | None, text: str) -> None:
    """Signals have their names; SIGKILL hints at its usual cause."""
    assert describe_exit(code) == text


def test_memory_may_be_given_back_at_any_time() -> None:
    """With every C library; twice, too."""
    for _ in range(2):
        give_memory_back()
