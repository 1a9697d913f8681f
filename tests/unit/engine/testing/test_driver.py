"""When nothing is left to do before time moves."""

from __future__ import annotations

from kontinue_engine.testing.driver import Driver


def test_what_a_thread_says_before_it_ends_is_heard_before_time_moves() -> None:
    """However the driver's questions lie between the two: else a function without time would meet a later one."""
    driver = Driver()

    def ends_while_it_is_asked() -> bool:
        driver.loop.call_soon_threadsafe(lambda: None)
        return False

    driver.is_busy_elsewhere = ends_while_it_is_asked
    assert not driver.is_settled


def test_a_counted_step_that_ends_meanwhile_is_heard() -> None:
    """It has said what it had to say by then."""
    driver = Driver()
    driver.begin()

    def ends_while_it_is_asked() -> bool:
        driver.loop.call_soon_threadsafe(lambda: None)
        driver.end()
        return False

    driver.is_busy_elsewhere = ends_while_it_is_asked
    assert not driver.is_settled
