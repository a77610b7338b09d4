"""Pages of streams, and pages that are open in a browser."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream
from diffcodec.coding.stream import ParsedStream
from diffcodec.images import Picture
from diffcodec.view import make_page


def page_of(
    codec: DiffusionCodec,
    stream: Bitstream | bytes,
    *,
    original: Picture | None = None,
    name: str = "the stream",
    partial: bool = False,
) -> str:
    """The page of a stream that is in a file of a name."""
    return make_page(codec, ParsedStream.parse(bytes(stream), partial=partial, name=name), original=original)


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

    def canvas(self) -> NDArray[np.uint8]:
        """The pixels of the canvas, (H, W, 4)."""
        self.settle()
        url = self.tab.evaluate("document.getElementById('canvas').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
