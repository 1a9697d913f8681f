"""Internal. Verbs for the primitives of ``konductor.io``, a module for each kind; of ``kontinue`` and of ``koncli``.

``kinds`` has the verbs that are the same for all kinds, ``locks`` what those share that are held, ``operations`` their
exit codes and what they print.
"""
