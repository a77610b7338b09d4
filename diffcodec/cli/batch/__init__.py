"""Runs a command on one or more inputs: inputs, outputs, batches, processes, report."""
