"""Bits and bytes: the entropy coder, the code for step lengths, and the .dfc container. No torch here."""
