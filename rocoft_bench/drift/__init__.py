"""Whether a small fixed set of runs still gives the numbers that are on record of it (`rocoft check`)."""
