// Draws panes on a canvas. `images` has the bitmaps by what they show: `restored` and, if there is one, `original`.

function makeStage(canvas, picture, hasAlpha) {
  const context = canvas.getContext("2d");
  const scratch = document.createElement("canvas");

  function draw(panes, images, view, gain) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (const pane of panes) {
      if (pane.shows === "difference") {
        drawDifference(pane, images, view, gain);
      } else {
        drawImage(context, pane, images[pane.shows], view, hasAlpha ? drawCheckerboard : null);
      }
    }
  }

  function drawImage(target, pane, image, view, drawBackground) {
    const { clip, frame } = pane;
    const origin = originOf(frame, view.centre, view.scale);
    // Only the part that is seen: browsers get slow, or give up, with an enlarged picture far beyond the canvas.
    const left = Math.max(0, Math.floor((clip.x - origin.x) / view.scale));
    const top = Math.max(0, Math.floor((clip.y - origin.y) / view.scale));
    const right = Math.min(picture.width, Math.ceil((clip.x + clip.width - origin.x) / view.scale));
    const bottom = Math.min(picture.height, Math.ceil((clip.y + clip.height - origin.y) / view.scale));
    if (right <= left || bottom <= top) return;
    const place = [
      origin.x + left * view.scale,
      origin.y + top * view.scale,
      (right - left) * view.scale,
      (bottom - top) * view.scale,
    ];
    target.save();
    target.beginPath();
    target.rect(clip.x, clip.y, clip.width, clip.height);
    target.clip();
    drawBackground?.(target, place);
    target.imageSmoothingEnabled = !Number.isInteger(view.scale) && view.scale < SHARP;
    target.imageSmoothingQuality = "high";
    target.drawImage(image, left, top, right - left, bottom - top, ...place);
    target.restore();
  }

  function drawBlack(target, place) {
    target.fillStyle = "#000";
    target.fillRect(...place);
  }

  // |original - restored|, times the gain. Both are laid on black first, so that transparent parts compare as such.
  function drawDifference(pane, images, view, gain) {
    scratch.width = canvas.width;
    scratch.height = canvas.height;
    drawImage(scratch.getContext("2d"), pane, images.restored, view, drawBlack);
    drawImage(context, pane, images.original, view, drawBlack);
    context.save();
    context.globalCompositeOperation = "difference";
    context.drawImage(scratch, 0, 0);
    context.globalCompositeOperation = "lighter"; // a sum: drawn onto itself, the picture doubles
    for (let reached = 1; reached < gain; reached *= 2) context.drawImage(canvas, 0, 0);
    context.restore();
  }

  function drawCheckerboard(target, [x, y, width, height]) {
    const side = Math.round(8 * devicePixelRatio);
    const tile = document.createElement("canvas");
    tile.width = tile.height = 2 * side;
    const pen = tile.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, 2 * side, 2 * side);
    pen.fillStyle = "#ccc";
    pen.fillRect(0, 0, side, side);
    pen.fillRect(side, side, side, side);
    target.fillStyle = target.createPattern(tile, "repeat");
    target.fillRect(x, y, width, height);
  }

  return { draw };
}
