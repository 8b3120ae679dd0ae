"""Numbers of records. What is larger than any run can make it is damage: it would show as a result, and break plots."""

from typing import Annotated

from pydantic import Field

LARGEST = 1e24

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A measured number: MiB, floating-point operations."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]
"""Of a run; no more than thirty years."""

Count = Annotated[int, Field(ge=0, le=10**15)]
"""Of parameters, rows, steps or bytes."""

Fraction = Annotated[float, Field(ge=-100, le=100)]
"""A metric. Even a percentage, which it should not be, is no larger."""
