"""A run: its folder, its cache, its weights, and where it computes."""
