"""Makes the integer tables of a model: error curve, level lists, step lengths, the lossless fit."""
