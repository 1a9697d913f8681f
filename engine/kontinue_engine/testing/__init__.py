"""Tests of durable functions: the product's own engine in the test's process, on virtual time.

See docs/testing.md. The pytest fixture ``kontinue_env`` is a ``TestEnvironment``. What ``__all__`` lists is public.
"""

from kontinue_engine.testing.environment import TestEnvironment
from kontinue_engine.testing.errors import EngineFailed, Stuck
from kontinue_engine.testing.execution import TestExecution
from kontinue_engine.testing.jobs import Jobs
from kontinue_engine.testing.replays import assert_replays
from kontinue_engine.testing.suspension import TestSuspension
from kontinue_engine.testing.sync_environment import SyncTestEnvironment, SyncTestExecution, SyncTestSuspension

__all__ = [
    "EngineFailed",
    "Jobs",
    "Stuck",
    "SyncTestEnvironment",
    "SyncTestExecution",
    "SyncTestSuspension",
    "TestEnvironment",
    "TestExecution",
    "TestSuspension",
    "assert_replays",
]
