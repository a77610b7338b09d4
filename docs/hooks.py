"""Puts the pages outside of docs/ on the documentation site, with links that fit there, and styles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site that lie outside of docs/."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, and the colours of code."""
    for source, name in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    styles = HtmlFormatter(style="default").get_style_defs(".highlight")
    files.append(File.generated(config, "pygments.css", content=styles))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leads links of docs/ to these pages to where they are on the site."""
    for source, name in PAGES.items():
        markdown = re.sub(rf"\]\((\.\./)?{re.escape(source)}\)", f"]({name})", markdown)
    return markdown
