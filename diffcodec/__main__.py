"""`python -m diffcodec`."""

from diffcodec.cli import main

main()
