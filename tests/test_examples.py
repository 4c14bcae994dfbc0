"""The Python examples in the README and the docs run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(match.group(1), id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, match in enumerate(re.finditer(r"```python\n(.*?)```", document.read_text(), re.DOTALL))
]


def test_there_are_examples_for_each_framework() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("source", EXAMPLES)
def test_example(source: str) -> None:
    for framework in ("torch", "mlx.core"):
        if framework in source:
            pytest.importorskip(framework)
    exec(compile(source, "example", "exec"), {})
