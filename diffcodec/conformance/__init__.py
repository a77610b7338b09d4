"""A suite of files with the pictures that they must restore to: whether a machine decodes as others do."""
