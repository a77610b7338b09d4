"""Pages in a real browser, where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream
from diffcodec.images import Picture
from tests.conftest import smooth_pixels
from tests.view.pages import Viewer, page_of

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def viewed() -> Picture:
    """The picture that pages show, 40 x 24."""
    return Picture(smooth_pixels(24, 40), None)


@pytest.fixture(scope="session")
def viewed_stream(codec: DiffusionCodec, viewed: Picture) -> Bitstream:
    return codec.compress(viewed, timestep=10)


@pytest.fixture(scope="session")
def restored(codec: DiffusionCodec, viewed_stream: Bitstream) -> list[NDArray[np.uint8]]:
    """What every step restores."""
    return [restored.pixels for restored in codec.progressive(viewed_stream)]


@pytest.fixture(scope="session")
def page_with_original(codec: DiffusionCodec, viewed: Picture, viewed_stream: Bitstream) -> str:
    return page_of(codec, viewed_stream, original=viewed, name="photo.dfc")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        pytest.skip("there is no Chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--force-color-profile=srgb"]
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        except sync_api.Error as error:  # the program of that name may be a stub that prints how to install it
            pytest.skip(f"{executable} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Viewer]]:
    """Opens a page. At the end, none may have complained, or asked anybody for anything."""
    viewers: list[Viewer] = []

    def open_page(html: str, *, width: int = 900, height: int = 700, **options: object) -> Viewer:
        file = tmp_path / f"page-{len(viewers)}.html"
        file.write_text(html, encoding="utf-8")
        viewer = Viewer(browser.new_page(viewport={"width": width, "height": height}, **options))
        viewers.append(viewer)
        viewer.tab.goto(file.as_uri())
        viewer.settle()
        return viewer

    yield open_page
    for number, viewer in enumerate(viewers):
        viewer.tab.close()
        assert viewer.complaints == []
        page = (tmp_path / f"page-{number}.html").as_uri()
        assert [url for url in viewer.requests if not url.startswith("data:")] == [page]
