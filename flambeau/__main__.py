"""``python -m flambeau SCRIPT``: see flambeau.cli."""

import sys

from .cli import main

sys.exit(main())
