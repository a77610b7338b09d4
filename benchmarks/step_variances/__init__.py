"""Which variances p(x_s | x_t) should have: measurement, transforms, a head of the network, and what steps cost."""
