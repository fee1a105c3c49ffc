"""An app for tests: runs, and never listens."""

import signal

print("thinking", flush=True)
signal.pause()
