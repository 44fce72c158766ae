"""Makes the table that tests of several files write importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
