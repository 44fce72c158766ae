"""Many runs as a table of a paper, and a record made again: cards, launchers, pages."""
