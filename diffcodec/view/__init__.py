"""A web page that shows a .dfc file: the restorations of its prefixes, beside the original."""

from diffcodec.view.page import make_page

__all__ = ["make_page"]
