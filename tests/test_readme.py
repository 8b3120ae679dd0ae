"""What the README shows is what there is."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_method_of_your_own_is_the_one_that_the_tests_install() -> None:
    method = (ROOT / "tests" / "plugins" / "example" / "role_bias" / "method.py").read_text(encoding="utf-8")
    assert f"```python\n{method}```\n" in README
