"""Makes the conformance suite that the package holds."""
