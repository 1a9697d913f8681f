"""Internal. What the leader of a worker group does, and how a replica becomes it.

Every replica keeps a ``lease_watch`` and runs a ``campaign``; the one that holds the leader Lease carries out the
duties: ``placement``, ``mutexes``, ``limits``, ``pruning``, ``closing``, ``schedules``, ``retries``, ``retention``;
``group_events`` says what people should know. Before that each has passed ``exclusion``. What is decided is in
``kontinue_engine.sharding`` and ``kontinue_engine.schedules``. Built by ``kontinue_engine.worker``.
"""
