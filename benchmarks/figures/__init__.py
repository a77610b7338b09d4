"""The figures of the rate-distortion benchmark, each drawn from result files alone."""
