"""An app for tests: says why, and ends."""

import sys

print("no such table: entries", file=sys.stderr)
sys.exit(3)
