"""The cache: one HDF5 file per dataset, laid out, built, read and verified."""
