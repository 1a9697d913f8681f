"""Internal. Verbs for the primitives of ``konductor.io``, a module for each kind; of ``kontinue`` and of ``koncli``.

``operations`` has their exit codes, and runs and tells what they do. Nothing else of the command line imports these.
"""
