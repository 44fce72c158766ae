"""Caches of paired images: sources that read, build and verify, pairs on the training device."""
