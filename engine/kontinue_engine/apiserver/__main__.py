"""Internal. Entry point of ``python -m kontinue_engine.apiserver``."""

from __future__ import annotations

import sys

from kontinue_engine.apiserver.main import main

if __name__ == "__main__":
    sys.exit(main())
