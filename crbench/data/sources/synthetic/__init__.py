"""Synthetic twins: pairs made from a seed, measurements of nothing."""
