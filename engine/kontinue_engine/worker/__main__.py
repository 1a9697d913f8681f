"""Internal. ``python -m kontinue_engine.worker module:app``: one replica."""

from __future__ import annotations

import sys

from kontinue_engine.worker.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
