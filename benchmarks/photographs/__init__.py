"""Real photographs through diffcodec and other codecs: what is measured, what it costs, and tables of it."""
