"""Fuzzing: inputs that somebody made to do harm must end in an exception of diffcodec's own."""
