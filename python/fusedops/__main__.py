"""python -m fusedops doctor | selftest."""

from __future__ import annotations

import argparse
import sys

import fusedops


def main() -> int:
    """Run a subcommand; the exit status is 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m fusedops")
    parser.add_argument(
        "command",
        choices=["doctor", "selftest"],
        help="doctor: say what this machine has; selftest: check every kernel on every device against float64",
    )
    if parser.parse_args().command == "selftest":
        return 0 if fusedops.selftest() else 1
    diagnosis = fusedops.doctor()
    print(diagnosis)
    return 1 if diagnosis.problems else 0


if __name__ == "__main__":
    sys.exit(main())
