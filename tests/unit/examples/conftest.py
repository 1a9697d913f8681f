"""Examples are imported as their users import them: from the folder ``examples``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))
