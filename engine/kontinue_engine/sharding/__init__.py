"""Internal. Who does what among the replicas of one worker group: pure decisions about Leases, shards and turns.

``leases`` says what a Lease tells, ``tenure`` what its holder may still do, ``lease_book`` what observers may conclude.
``leader`` decides for the whole group: which replica gets which Execution, which shard is dead, who has a mutex. It is
driven by ``kontinue_engine.coordinator``, and by a simulation in ``tests``; nothing here does I/O or reads a clock.
"""
