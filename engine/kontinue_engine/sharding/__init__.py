"""Internal. Who does what among the replicas of one worker group: pure decisions about Leases, shards and turns.

``leases`` says what a Lease tells, ``taking`` who may have it, ``tenure`` what its holder may still do, ``lease_book``
what observers may conclude; ``placement`` which replica gets which Execution and which shard is dead. Driven by
``kontinue_engine.kube.lease`` and ``kontinue_engine.coordinator``; nothing here does I/O or reads a clock.
"""
