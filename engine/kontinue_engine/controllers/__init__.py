"""Internal. Controllers: observe the store, decide in pure code (``lifecycle``), act on the API server and the pool.

One kind per module: ``execution`` (with ``entries`` and ``children`` as its parts) and ``function``.
"""
