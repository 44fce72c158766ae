"""Pairs as users have them: folders of images, HDF5 files, datasets of torchgeo."""
