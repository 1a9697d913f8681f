"""Internal. ``python -m kontinue_engine.cli``."""

import sys

from kontinue_engine.cli.main import main

sys.exit(main())
