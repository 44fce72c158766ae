"""A run's archive, and the items in it that are nearest to a query."""
