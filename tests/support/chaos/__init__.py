"""Faults at random under load, judged from outside: ``make chaos ROUNDS=n``.

Three sharded replicas run ``app`` against an API server; ``world`` starts everything, ``load`` spawns Executions
without a pause, ``faults`` strikes. ``ledger`` and ``observer`` watch meanwhile, ``checks`` judges every Execution at
the end, ``figures`` counts. ``rolling`` measures a rolling restart in the same world. The short form is in tests/e2e.
"""
