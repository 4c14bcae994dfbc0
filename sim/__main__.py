"""`python -m fusedops.sim`."""

import os
import signal
import sys

from .command import main

try:
    status = main()
    sys.stdout.flush()
except BrokenPipeError:  # the reader, such as head, has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    status = 1
except KeyboardInterrupt:
    status = 128 + signal.SIGINT  # as the shell says it
sys.exit(status)
