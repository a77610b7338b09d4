"""Pages in a real browser, where there is one."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffcodec.codec import DiffusionCodec
from diffcodec.images import Picture
from diffcodec.results import Bitstream
from diffcodec.view import make_page
from tests.conftest import smooth_pixels

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

Canvas = NDArray[np.uint8]


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
    return [preview.picture.pixels for preview in codec.progressive(viewed_stream)]


@pytest.fixture(scope="session")
def page_with_original(codec: DiffusionCodec, viewed: Picture, viewed_stream: Bitstream) -> str:
    return make_page(codec, viewed_stream, original=viewed, name="photo.dfc")


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
        except sync_api.Error as error:  # what has the name may be a stub that tells how to install it
            pytest.skip(f"{executable} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


class Viewer:
    """A page that is open in the browser, as a person sees and uses it."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        self.requests: list[str] = []
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("dialog", self._dismiss)
        tab.on("request", lambda request: self.requests.append(request.url))

    def _dismiss(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def settle(self) -> None:
        """Wait until the chosen step is drawn."""
        self.tab.evaluate(
            """async () => {
                const drawn = () => new Promise(requestAnimationFrame);
                const step = () => document.getElementById("figure-step").textContent.split(" ")[0];
                do { await drawn(); await drawn(); } while (document.getElementById("canvas").dataset.step !== step());
            }"""
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)
        self.settle()

    def click(self, name: str) -> None:
        self.tab.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def text(self, element: str) -> str:
        return str(self.tab.locator(f"#{element}").text_content())

    @property
    def box(self) -> dict[str, float]:
        """Where the canvas lies, in CSS pixels."""
        box: dict[str, float] = self.tab.locator("#canvas").bounding_box()
        return box

    def canvas(self) -> Canvas:
        """The pixels of the canvas, (H, W, 4)."""
        self.settle()
        url = self.tab.evaluate("document.getElementById('canvas').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


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
