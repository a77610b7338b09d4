"""The entropy coder, the code of step lengths, and the .dfc container. Torch-free."""
