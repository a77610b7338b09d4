"""Sends and receives signals step by step: the protocol, what both sides know, encoder, decoder, truncation."""
