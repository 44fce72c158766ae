"""BEN-14K, and other patches of BigEarthNet, from every form in which they lie on disk."""
