"""Internal. ``python -m kontinue_engine.cli``."""

import sys

from kontinue_engine.cli.entry import kontinue

sys.exit(kontinue())
