"""What the build tells its user, on the terminal and in a file."""

import time
from typing import TextIO


class Report:
    """Prints to the terminal and to a file.

    Args:
        file: The open file.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._start = time.monotonic()

    def detail(self, text: str) -> None:
        """Prints a line to the file only."""
        print(text, file=self._file, flush=True)

    def line(self, text: str) -> None:
        """Prints a line."""
        print(text, flush=True)
        self.detail(text)

    def step(self, text: str) -> None:
        """Prints a line with the seconds since the start."""
        self.line(f"[{time.monotonic() - self._start:4.0f} s] {text}")
