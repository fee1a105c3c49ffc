"""`python -m engine.cli`: what `./madang` becomes once its packages are there."""

import sys

from engine.cli import main

sys.exit(main())
