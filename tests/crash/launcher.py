"""How the daemon is started so that it can be made to kill itself."""

import sys
from pathlib import Path

LAUNCHER = (sys.executable, str(Path(__file__).with_name("daemon_under_test.py")))
