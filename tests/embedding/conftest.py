"""Lets the tests of files import what makes them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
