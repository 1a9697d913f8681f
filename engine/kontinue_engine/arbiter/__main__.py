"""Internal. ``python -m kontinue_engine.arbiter``: what ``kontinue coordinator run`` becomes."""

import sys

from kontinue_engine.arbiter.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
