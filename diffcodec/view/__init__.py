"""A page for looking at a .dfc file: what its prefixes restore, beside the original."""

from diffcodec.view.page import make_page

__all__ = ["make_page"]
