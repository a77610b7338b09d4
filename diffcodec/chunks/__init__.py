"""Chunks of arrays of pictures, for numcodecs and Zarr, which find the codec `dfc` by its entry points."""
