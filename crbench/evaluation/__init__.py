"""Vectors to a record: scores in four directions, comparisons, probes."""
