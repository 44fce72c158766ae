"""``crbench serve``: the search of one run as a web page on this machine."""
