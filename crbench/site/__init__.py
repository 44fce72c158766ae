"""The static site of all results."""
