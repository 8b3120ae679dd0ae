"""Jobs whose worker is a few lines of Python."""

from tests.execution.conftest import process

__all__ = ["process"]
