"""The page in a real browser: what is on the canvas is what the codec restored."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream
from diffcodec.images import Picture, read_picture
from tests.view.pages import Viewer, page_of

GOLDEN = Path(__file__).parent.parent / "golden"

Pixels = NDArray[np.uint8]
Show = Callable[..., Viewer]


def enlarged_on(canvas: Pixels, height: int, width: int) -> tuple[Pixels, int]:
    """The picture that a canvas shows fitted, centred and alone, as it is there, and how much it is enlarged."""
    scale = min(canvas.shape[0] // height, canvas.shape[1] // width)
    assert scale > 1
    top, left = (canvas.shape[0] - height * scale + 1) // 2, (canvas.shape[1] - width * scale + 1) // 2
    enlarged = canvas[top : top + height * scale, left : left + width * scale]
    assert (enlarged[..., 3] == 255).all()
    assert np.count_nonzero(canvas[..., 3]) == enlarged[..., 3].size
    return enlarged[..., :3], scale


def picture_on(canvas: Pixels, height: int, width: int) -> Pixels:
    """The picture that a canvas shows fitted, centred and alone: each pixel is a square of one colour."""
    enlarged, scale = enlarged_on(canvas, height, width)
    found = enlarged[::scale, ::scale]
    assert np.array_equal(enlarged, found.repeat(scale, axis=0).repeat(scale, axis=1))
    return found


@pytest.fixture
def viewer(show: Show, page_with_original: str) -> Viewer:
    return show(page_with_original)


def test_every_step_is_what_the_codec_restored(viewer: Viewer, restored: list[Pixels]) -> None:
    viewer.press("1", "Home")
    slider = viewer.tab.get_by_role("slider", name="Bytes of the file that are used")
    for index, pixels in enumerate(restored):
        assert np.array_equal(picture_on(viewer.canvas(), 24, 40), pixels)
        assert slider.input_value() == str(index)
        viewer.press("ArrowRight")
    for index in (3, 0, len(restored) - 1):
        slider.fill(str(index))
        assert np.array_equal(picture_on(viewer.canvas(), 24, 40), restored[index])


def test_what_is_drawn_is_what_is_seen(viewer: Viewer, restored: list[Pixels]) -> None:
    viewer.press("1", "Home")
    screen = np.asarray(Image.open(io.BytesIO(viewer.tab.screenshot())).convert("RGB"))
    box = viewer.box
    y, x = round(box["y"] + box["height"] / 2), round(box["x"] + box["width"] / 2)
    canvas = viewer.canvas()
    middle = canvas[canvas.shape[0] // 2 :, canvas.shape[1] // 2 :, :3][:50, :50]
    around = screen[y - 2 : y + 60, x - 2 : x + 60].astype(int)
    shifts = [around[dy : dy + 50, dx : dx + 50] for dy in range(5) for dx in range(5)]
    assert any(np.array_equal(shift, middle) for shift in shifts)


def test_the_slider_has_a_description(viewer: Viewer, viewed_stream: Bitstream) -> None:
    slider = viewer.tab.get_by_role("slider", name="Bytes of the file that are used")
    size = f"{len(viewed_stream.data):,} bytes"
    text = slider.get_attribute("aria-valuetext")
    assert text.startswith(f"{size}, t = 10, step 8 of 8, PSNR ")
    assert viewer.text("position") == size
    assert viewer.text("figure-share") == "100 %"
    slider.focus()
    viewer.press("Home")
    assert slider.get_attribute("aria-valuetext").split(", ")[1:3] == ["t = 800", "step 1 of 8"]


def test_space_plays_to_the_end(viewer: Viewer, restored: list[Pixels]) -> None:
    viewer.press("1", "End", "ArrowLeft", "ArrowLeft", " ")
    assert viewer.tab.get_by_role("button", name="Pause").is_visible()
    viewer.tab.get_by_role("button", name="Play").wait_for()
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), restored[-1])
    viewer.press(" ", " ")
    assert viewer.text("figure-step").startswith("1 of")  # it began anew, and was stopped


def test_difference(viewer: Viewer, viewed: Picture, restored: list[Pixels]) -> None:
    viewer.press("d", "End", "ArrowLeft")
    error = abs(viewed.pixels.astype(int) - restored[-2])
    for gain in (1, 2, 4, 8, 16):
        viewer.click(f"×{gain}")
        assert np.array_equal(picture_on(viewer.canvas(), 24, 40), np.minimum(gain * error, 255))
        assert viewer.text("first-label") == f"Difference × {gain}"


def test_d_goes_back_to_where_it_came_from(viewer: Viewer) -> None:
    side = viewer.tab.get_by_role("button", name="Side by side")
    viewer.click("Side by side")
    viewer.press("d")
    assert side.get_attribute("aria-pressed") == "false"
    viewer.press("d")
    assert side.get_attribute("aria-pressed") == "true"


def test_original_while_held(viewer: Viewer, viewed: Picture, restored: list[Pixels]) -> None:
    viewer.press("1", "Home")
    viewer.tab.keyboard.down("o")
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), viewed.pixels)
    viewer.tab.keyboard.up("o")
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), restored[0])
    viewer.tab.locator("#hold").hover()
    viewer.tab.mouse.down()
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), viewed.pixels)
    viewer.tab.mouse.up()
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), restored[0])


def test_wipe_moves_with_pointer_and_keys(viewer: Viewer, viewed: Picture, restored: list[Pixels]) -> None:
    viewer.press("2", "Home")

    def border() -> int:
        """Columns of the original; all further ones are restored."""
        found = picture_on(viewer.canvas(), 24, 40)
        columns = [np.array_equal(found[:, x], viewed.pixels[:, x]) for x in range(40)]
        count = columns.index(False) if False in columns else 40
        assert np.array_equal(found[:, count:], restored[0][:, count:])
        return count

    assert border() == 20
    handle = viewer.tab.get_by_role("slider", name="Border between original and restored")
    box = handle.bounding_box()
    viewer.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    viewer.tab.mouse.down()
    viewer.tab.mouse.move(viewer.box["x"] + viewer.box["width"], box["y"] + 60)
    viewer.tab.mouse.up()
    assert border() == 40
    handle.focus()
    viewer.press("Home")
    assert handle.get_attribute("aria-valuenow") == "0"
    assert border() == 0
    assert viewer.text("figure-step").startswith("1 of")  # the handle's keys do not move the slider


def halves(canvas: Pixels) -> tuple[Pixels, Pixels]:
    """Panes beside each other, or one above the other."""
    rows, columns = (np.asarray(canvas.any(axis=axis)) for axis in ((1, 2), (0, 2)))
    middle_y, middle_x = canvas.shape[0] // 2, canvas.shape[1] // 2
    if not columns[middle_x - 1 : middle_x + 1].any():
        side = (canvas.shape[1] - 2) // 2
        return canvas[:, :side], canvas[:, -side:]
    assert not rows[middle_y - 1 : middle_y + 1].any()
    side = (canvas.shape[0] - 2) // 2
    return canvas[:side], canvas[-side:]


def test_side_by_side(viewer: Viewer, viewed: Picture, restored: list[Pixels]) -> None:
    viewer.click("Side by side")
    first, second = halves(viewer.canvas())
    assert np.array_equal(picture_on(first, 24, 40), viewed.pixels)
    assert np.array_equal(picture_on(second, 24, 40), restored[-1])


def test_panes_side_by_side_are_linked(show: Show, codec: DiffusionCodec, viewed: Picture) -> None:
    """With a lossless stream both must show the same at every zoom and place."""
    viewer = show(page_of(codec, codec.compress(viewed, timestep=0), original=viewed))
    viewer.press("3")
    before, _ = halves(viewer.canvas())
    box = viewer.box
    viewer.tab.mouse.move(box["x"] + 60, box["y"] + 90)
    for _ in range(2):
        viewer.tab.mouse.wheel(0, -130)
        zoomed, second = halves(viewer.canvas())
        assert not np.array_equal(zoomed, before)
        assert np.array_equal(zoomed, second)
        before = zoomed
    viewer.tab.mouse.down()
    viewer.tab.mouse.move(box["x"] + 35, box["y"] + 60)
    viewer.tab.mouse.up()
    panned, second = halves(viewer.canvas())
    assert np.array_equal(panned[:-30, :-25], zoomed[30:, 25:])
    assert np.array_equal(panned, second)


def test_panes_are_stacked_where_that_leaves_them_larger(show: Show, page_with_original: str) -> None:
    viewer = show(page_with_original, width=500, height=900)
    viewer.press("3")
    top, bottom = halves(viewer.canvas())
    assert top.shape[1] == viewer.canvas().shape[1]
    assert viewer.tab.locator("#second-label").bounding_box()["y"] > viewer.box["y"] + bottom.shape[0]


def test_zoom_keys_stop_at_the_largest_and_return(show: Show, codec: DiffusionCodec, viewed: Picture) -> None:
    viewer = show(page_of(codec, codec.compress(viewed, timestep=0), original=viewed), width=400, height=500)
    viewer.press("1")
    fitted = viewer.text("zoom-value")
    viewer.press(*["+"] * 8)
    assert viewer.text("zoom-value") == "1600 %"
    canvas = viewer.canvas()[..., :3]
    # The middle of the picture is in the middle of the canvas, in squares of 16 pixels.
    middle = canvas[canvas.shape[0] // 2 :, canvas.shape[1] // 2 :][:64, :64]
    assert np.array_equal(middle, viewed.pixels[12:16, 20:24].repeat(16, axis=0).repeat(16, axis=1))
    viewer.press(*["-"] * 12)
    assert viewer.text("zoom-value") == "100 %"
    viewer.press("0")
    assert viewer.text("zoom-value") == fitted
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), viewed.pixels)


def test_the_wheel_zooms_about_the_pointer(show: Show, page_with_original: str) -> None:
    viewer = show(page_with_original, width=400, height=500)
    viewer.press("1", *["+"] * 4)
    box = viewer.box
    x, y = 2 * round(box["width"] / 3), round(box["height"] / 3)
    before = viewer.canvas()[y, x]
    viewer.tab.mouse.move(box["x"] + x, box["y"] + y)
    for turn in (40, -20, 30):
        viewer.tab.mouse.wheel(0, turn)
        around = viewer.canvas()[y - 1 : y + 2, x - 1 : x + 2]  # places are rounded to pixels
        assert (around == before).all(axis=2).any()


def test_two_fingers_zoom(show: Show, page_with_original: str) -> None:
    viewer = show(page_with_original, width=390, height=844, has_touch=True, is_mobile=True, device_scale_factor=2)
    viewer.press("1")
    box = viewer.box
    fitted = int(viewer.text("zoom-value").split()[0])
    touch = viewer.tab.context.new_cdp_session(viewer.tab)
    y = box["y"] + box["height"] / 2
    for kind, apart in (("touchStart", 40), ("touchMove", 50), ("touchMove", 60), ("touchEnd", None)):
        points = [] if apart is None else [{"x": box["x"] + 180 + sign * apart, "y": y, "id": sign} for sign in (-1, 1)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    viewer.settle()
    assert int(viewer.text("zoom-value").split()[0]) == pytest.approx(1.5 * fitted, rel=0.03)


def test_the_curve_leads_to_every_step(viewer: Viewer) -> None:
    points = viewer.tab.locator("#curve .point")
    places = []
    for index in range(points.count()):
        box = points.nth(index).bounding_box()
        viewer.tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        viewer.settle()
        assert viewer.text("figure-step") == f"{index + 1} of 8"
        current = viewer.tab.locator("#curve .current")
        places.append((float(current.get_attribute("cx")), float(current.get_attribute("cy"))))
    assert places == sorted(places)
    assert len(set(places)) == 8
    assert places[0][1] > places[-1][1]  # more bytes, higher PSNR


def test_the_table_leads_to_every_step(viewer: Viewer) -> None:
    viewer.tab.get_by_text("All steps").click()
    rows = viewer.tab.locator("#rows tr")
    assert rows.count() == 8
    rows.nth(2).get_by_role("button").click()
    viewer.settle()
    assert viewer.text("figure-step") == "3 of 8"
    assert rows.nth(2).get_attribute("aria-current") == "true"
    assert rows.nth(2).locator("td").all_text_contents()[1] == viewer.text("figure-bytes")


def test_keys_are_explained(viewer: Viewer) -> None:
    viewer.press("?")
    assert viewer.tab.get_by_role("dialog", name="Keys").is_visible()
    viewer.press("Escape", "Home")
    assert not viewer.tab.get_by_role("dialog", name="Keys").is_visible()
    assert viewer.text("figure-step") == "1 of 8"


def test_without_original_there_is_nothing_to_compare(
    show: Show, codec: DiffusionCodec, viewed_stream: Bitstream, restored: list[Pixels]
) -> None:
    viewer = show(page_of(codec, viewed_stream))
    for name in ("Wipe", "Difference", "×4", "Original (hold)"):
        assert viewer.tab.get_by_role("button", name=name).count() == 0
    viewer.press("d", "o", "Home")
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), restored[0])
    assert viewer.text("curve-title") == "Noise level t against bytes"


def test_colours_follow_the_system(show: Show, page_with_original: str) -> None:
    colours = {
        scheme: show(page_with_original, color_scheme=scheme).tab.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    }
    assert colours == {"light": "rgb(245, 245, 243)", "dark": "rgb(19, 20, 22)"}


def test_it_is_no_wider_than_the_screen(viewer: Viewer, restored: list[Pixels]) -> None:
    viewer.press("1")
    for width in (320, 390, 700, 861, 1100):
        viewer.tab.set_viewport_size({"width": width, "height": 800})
        assert np.array_equal(picture_on(viewer.canvas(), 24, 40), restored[-1])
        assert viewer.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_can_be_loaded(show: Show, page_with_original: str) -> None:
    """Whatever got into the page could not call home: the browser refuses before a request is made."""
    viewer = show(page_with_original)
    refused = viewer.tab.evaluate(
        "new Promise((tell) => { const image = new Image(); image.onerror = () => tell(true);"
        "image.onload = () => tell(false); image.src = document.location.href + '/x.png'; })"
    )
    assert refused
    assert "violates the following Content Security Policy" in viewer.complaints.pop()
    assert viewer.requests.pop().endswith("/x.png")  # which is noted when it is refused, too


@pytest.fixture(scope="module")
def bundled() -> DiffusionCodec:
    return DiffusionCodec.from_pretrained("cifar10-small-v3")


@pytest.mark.parametrize("name", ["one-pixel-t10", "grey-alpha-t0", "stored-t0", "rgb-t200-rows", "rgb-t0"])
def test_odd_files(show: Show, bundled: DiffusionCodec, name: str) -> None:
    picture = read_picture(GOLDEN / f"v3-{name}.png")
    page = page_of(bundled, (GOLDEN / f"v3-{name}.dfc").read_bytes(), original=picture, name=name)
    viewer = show(page, width=400, height=600)
    assert viewer.text("figure-psnr") == "exact"
    viewer.press("1")
    expected = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None].repeat(3, axis=2)
    if picture.alpha is None:
        assert np.array_equal(picture_on(viewer.canvas(), *expected.shape[:2]), expected)
    viewer.press("4")
    assert not picture_on(viewer.canvas(), *expected.shape[:2]).any()


def test_transparent_pixels_show_a_checkerboard(show: Show, codec: DiffusionCodec, viewed: Picture) -> None:
    alpha = np.zeros((24, 40), np.uint8)
    alpha[:, 20:] = 255
    stream = codec.compress(Picture(viewed.pixels, alpha), timestep=0)
    viewer = show(page_of(codec, stream))
    enlarged, scale = enlarged_on(viewer.canvas(), 24, 40)
    left, right = enlarged[:, : 20 * scale], enlarged[:, 20 * scale :]
    assert set(left.flat) == {0xCC, 0xFF}
    assert np.array_equal(right[::scale, ::scale], viewed.pixels[:, 20:])


def test_panorama(show: Show, codec: DiffusionCodec) -> None:
    picture = Picture(np.arange(12 * 36 * 3, dtype=np.uint16).astype(np.uint8).reshape(12, 36, 3))
    viewer = show(page_of(codec, codec.compress(picture, timestep=0), original=picture))
    viewer.press("3")
    for pane in halves(viewer.canvas()):
        assert np.array_equal(picture_on(pane, 12, 36), picture.pixels)


def test_cut_files_show_what_there_is(show: Show, codec: DiffusionCodec, viewed_stream: Bitstream) -> None:
    cut = viewed_stream.data[: len(viewed_stream.data) // 2]
    viewer = show(page_of(codec, cut, partial=True))
    expected = codec.decompress(cut, partial=True)
    assert np.array_equal(picture_on(viewer.canvas(), 24, 40), expected.picture.pixels)
    assert viewer.text("figure-step") == f"{expected.step} of 8"
    assert f"The file {expected.problem}." in viewer.tab.locator(".notes").text_content()


def test_names_are_only_shown(show: Show, codec: DiffusionCodec, viewed_stream: Bitstream) -> None:
    name = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>.dfc"
    viewer = show(page_of(codec, viewed_stream, name=name))
    shown = "script>" + name.split("/script>")[1]
    assert viewer.tab.locator("h1").text_content() == shown
    assert viewer.tab.title() == shown
    assert viewer.tab.evaluate("document.scripts.length") == 2
    assert viewer.tab.evaluate("document.querySelectorAll('img').length") == 0
