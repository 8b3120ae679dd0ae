"""Counts against the numbers that the paper prints."""

UNITS = {"K": 1e3, "M": 1e6}


def is_printed_as(count: int, text: str) -> bool:
    """Whether a count, rounded or cut off at the digits of e.g. "0.249M", "8.8K" or "1,319", is that text."""
    number = text.upper().replace(",", "")
    digits = number.rstrip("KM")
    unit = UNITS.get(number[-1], 1.0) / 10 ** len(digits.partition(".")[2])
    return int(digits.replace(".", "")) in (round(count / unit), int(count / unit))
