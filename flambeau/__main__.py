"""``python -m flambeau SCRIPT``: see flambeau.cli."""

import sys

from flambeau.cli import main

sys.exit(main())
