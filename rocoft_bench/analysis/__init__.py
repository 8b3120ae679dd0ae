"""From records to what may be compared, and the statistics of it."""
