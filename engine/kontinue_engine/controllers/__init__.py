"""Internal. Controllers: observe the store, decide in pure code (``lifecycle``), act on the API server and the pool.

One kind per module: ``execution`` (with ``entries``, ``children`` and ``status_writer`` as its parts) and ``function``.
"""
