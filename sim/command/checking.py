"""The static findings of a command, without those that --allow accepts."""

import argparse
import re
from pathlib import Path

from ..check import check


def static_findings(options: argparse.Namespace, source: Path | str, only: str | None) -> list[str]:
    findings = check(source, include=options.include, defines=options.defines, only=only)
    return [line for line in findings if not (options.allow and re.search(options.allow, line))]
