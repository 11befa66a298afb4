"""`python -m daemon` is the command `famulus`."""

import sys

from daemon.cli import main

sys.exit(main())
