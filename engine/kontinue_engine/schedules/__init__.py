"""Internal. When a ScheduledExecution starts what: pure decisions about cron expressions and occurrences.

``cron`` finds the times that an expression names, ``deciding`` says which of them is due, what has to be canceled for
it and what is deleted afterwards. Driven by ``kontinue_engine.coordinator.schedules``; nothing here reads a clock.
"""
