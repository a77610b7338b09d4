// Where pictures lie on the stage. Lengths are device pixels, scales are device pixels for one of the picture.

const LARGEST_ZOOM = 16; // CSS pixels for one of the picture; smaller pictures may be enlarged more to fill the stage
const GAP = 2; // between two panes
const SHARP = 3; // from this scale on pixels are seen as squares, which are to be of one size

// The largest scale at which a picture lies in a frame as a whole, or next to that.
function fitScale(frame, picture) {
  const scale = Math.min(frame.width / picture.width, frame.height / picture.height);
  return scale >= SHARP ? Math.floor(scale) : scale;
}

// Two frames, beside each other or one above the other, whichever leaves the picture larger.
function halves(stage, picture) {
  const width = Math.floor((stage.width - GAP) / 2);
  const height = Math.floor((stage.height - GAP) / 2);
  const beside = { ...stage, width };
  const above = { ...stage, height };
  return fitScale(beside, picture) >= fitScale(above, picture)
    ? [beside, { ...beside, x: stage.width - width }]
    : [above, { ...above, y: stage.height - height }];
}

// What is drawn where: `frame` is what the picture is centred in, `clip` the part of it that is seen.
function panesOf(mode, stage, picture, split) {
  if (mode === "side") {
    const [first, second] = halves(stage, picture);
    return [
      { shows: "original", frame: first, clip: first },
      { shows: "restored", frame: second, clip: second },
    ];
  }
  if (mode === "wipe") {
    const border = Math.round(split * stage.width);
    return [
      { shows: "original", frame: stage, clip: { ...stage, width: border } },
      { shows: "restored", frame: stage, clip: { ...stage, x: border, width: stage.width - border } },
    ];
  }
  return [{ shows: mode, frame: stage, clip: stage }];
}

// The scales that buttons and keys stop at, from small to large.
function zoomStops(fit, deviceRatio) {
  const largest = Math.max(LARGEST_ZOOM * deviceRatio, fit);
  const stops = [1 / 8, 1 / 4, 1 / 2, 1, 2, 3, 4, 6, 8, 12, LARGEST_ZOOM].map((zoom) => zoom * deviceRatio);
  return [...new Set([fit, largest, ...stops])]
    .filter((scale) => scale >= Math.min(fit, deviceRatio) && scale <= largest)
    .sort((a, b) => a - b);
}

// The nearest centre, in the picture's pixels, with which the picture fills the frame as far as it can.
function clampCentre(centre, frame, picture, scale) {
  const clamp = (value, visible, length) =>
    visible >= length ? length / 2 : Math.min(Math.max(value, visible / 2), length - visible / 2);
  return {
    x: clamp(centre.x, frame.width / scale, picture.width),
    y: clamp(centre.y, frame.height / scale, picture.height),
  };
}

// The picture's top left corner on the stage: on whole device pixels, so that enlarged pixels are sharp.
function originOf(frame, centre, scale) {
  return {
    x: Math.round(frame.x + frame.width / 2 - centre.x * scale),
    y: Math.round(frame.y + frame.height / 2 - centre.y * scale),
  };
}
