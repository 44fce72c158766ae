"""Losses, each in a file that reads beside its formula."""
