"""What experiments need from the hub and GitHub, whether it can be had, and fetching it."""
