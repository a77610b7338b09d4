// The page: its state, and what shows and changes it.

const data = JSON.parse(document.getElementById("data").textContent);
const { frames } = data;
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const stage = makeStage(canvas, data, data.alpha);
const hasOriginal = data.original !== null;

const state = {
  index: frames.length - 1,
  mode: hasOriginal ? "wipe" : "restored",
  before: "restored", // the mode that `d` goes back to
  gain: 8,
  split: 0.5,
  scale: null, // null fits the picture to its frame
  centre: { x: data.width / 2, y: data.height / 2 },
  holding: false, // the original is shown instead, while a key or button is held
};

// ---------------------------------------------------------------------------------------- pictures

const loaded = new Map();
const shown = {}; // the images that are drawn: `restored` stays the last one until the next one is there

async function load(source) {
  if (!loaded.has(source)) {
    const image = new Image();
    image.src = source;
    loaded.set(source, image.decode().then(() => image));
  }
  return loaded.get(source);
}

async function showFrame() {
  const { index } = state;
  const image = await load(frames[index].source);
  if (index !== state.index) return;
  shown.restored = image;
  shown.step = frames[index].step;
  redraw();
}

// ---------------------------------------------------------------------------------------- stage

function panes() {
  const mode = state.holding ? "original" : state.mode;
  return panesOf(mode, { x: 0, y: 0, width: canvas.width, height: canvas.height }, data, state.split);
}

const fit = () => fitScale(panes()[0].frame, data);
const scale = () => state.scale ?? fit();

let waiting = 0;
function redraw() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(draw);
}

function draw() {
  if (!shown.restored || (hasOriginal && !shown.original)) return;
  const drawn = panes();
  stage.draw(drawn, shown, { scale: scale(), centre: state.centre }, state.gain);
  canvas.dataset.step = shown.step; // what can be seen, for whoever looks from outside
  canvas.style.touchAction = state.scale === null ? "pan-y" : "none";
  element("zoom-value").value = `${Math.round((100 * scale()) / devicePixelRatio)} %`;
  element("handle").hidden = state.holding || state.mode !== "wipe";
  element("handle").style.left = `${100 * state.split}%`;
  element("handle").setAttribute("aria-valuenow", Math.round(100 * state.split));
  showLabels(drawn);
}

function showLabels(drawn) {
  const names = {
    original: "Original",
    restored: `${count(frames[state.index].bytes)} bytes`,
    difference: `Difference × ${state.gain}`,
  };
  for (const [label, pane, side] of [["first-label", drawn[0], "left"], ["second-label", drawn[1], "right"]]) {
    element(label).hidden = !pane;
    if (!pane) continue;
    element(label).textContent = names[pane.shows];
    const isBelow = side === "right" && pane.frame.y > 0;
    element(label).style.top = isBelow ? `${pane.frame.y / devicePixelRatio}px` : "";
    element(label).classList.toggle("at-right", side === "right" && !isBelow);
  }
  canvas.setAttribute("aria-label", drawn.map((pane) => names[pane.shows]).join(", "));
}

function moveTo(centre) {
  state.centre = clampCentre(centre, panes()[0].frame, data, scale());
  redraw();
}

// Zooms so that what lies at a point of the stage, in device pixels, stays there.
function zoomTo(target, point) {
  const under = panes().find(({ clip: { x, y, width, height } }) =>
    point && point.x >= x && point.y >= y && point.x <= x + width && point.y <= y + height);
  const { frame } = under ?? panes()[0];
  const away = point
    ? { x: point.x - frame.x - frame.width / 2, y: point.y - frame.y - frame.height / 2 }
    : { x: 0, y: 0 };
  const stops = zoomStops(fit(), devicePixelRatio);
  const before = scale();
  const after = Math.min(Math.max(target, stops[0]), stops.at(-1));
  state.scale = after;
  moveTo({
    x: state.centre.x + away.x / before - away.x / after,
    y: state.centre.y + away.y / before - away.y / after,
  });
}

function zoomIn() {
  zoomTo(zoomStops(fit(), devicePixelRatio).find((stop) => stop > scale() * 1.001) ?? scale());
}

function zoomOut() {
  zoomTo(zoomStops(fit(), devicePixelRatio).findLast((stop) => stop < scale() * 0.999) ?? scale());
}

function zoomToFit() {
  state.scale = null;
  moveTo(state.centre);
}

listenForGestures(canvas, {
  pan: (dx, dy) => moveTo({
    x: state.centre.x - (dx * devicePixelRatio) / scale(),
    y: state.centre.y - (dy * devicePixelRatio) / scale(),
  }),
  zoomBy: (factor, x, y) => zoomTo(scale() * factor, { x: x * devicePixelRatio, y: y * devicePixelRatio }),
});

new ResizeObserver(() => {
  const { width, height } = element("stage").getBoundingClientRect();
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  moveTo(state.centre);
}).observe(element("stage"));

// ---------------------------------------------------------------------------------------- steps

const count = (value) => value.toLocaleString("en");
const bppOf = (frame) => (8 * frame.bytes) / (data.width * data.height);
const psnrOf = (frame) => (frame.psnr === null ? "exact" : frame.psnr.toFixed(2));

const moveCurvePoint = makeCurve(element("curve"), frames, hasOriginal, (index) => goTo(index));

function goTo(index) {
  state.index = Math.min(Math.max(index, 0), frames.length - 1);
  const frame = frames[state.index];
  const figures = {
    bytes: count(frame.bytes),
    share: `${((100 * frame.bytes) / data.totalBytes).toPrecision(3)} %`,
    bpp: bppOf(frame).toPrecision(3),
    timestep: count(frame.timestep),
    step: `${frame.step} of ${data.steps}`,
    psnr: hasOriginal ? psnrOf(frame) + (frame.psnr === null ? "" : " dB") : "",
  };
  for (const [name, text] of Object.entries(figures)) element(`figure-${name}`).textContent = text;
  element("position").value = `${figures.bytes} bytes`;
  element("slider").value = state.index;
  element("slider").setAttribute(
    "aria-valuetext",
    `${figures.bytes} bytes, t = ${figures.timestep}, step ${figures.step}${hasOriginal ? `, PSNR ${figures.psnr}` : ""}`,
  );
  for (const [place, row] of [...element("rows").rows].entries()) {
    row.ariaCurrent = place === state.index ? "true" : "false";
  }
  moveCurvePoint(state.index);
  showFrame();
}

let timer = 0;
function play(start = !timer) {
  clearInterval(timer);
  timer = 0;
  if (start) {
    if (state.index === frames.length - 1) goTo(0);
    timer = setInterval(() => (state.index < frames.length - 1 ? goTo(state.index + 1) : play(false)), 500);
  }
  element("play").ariaLabel = timer ? "Pause" : "Play";
  element("play").firstElementChild.textContent = timer ? "❚❚" : "▶";
}

function stepTo(index) {
  play(false);
  goTo(index);
}

// ---------------------------------------------------------------------------------------- controls

function setMode(mode) {
  if (mode !== "restored" && !hasOriginal) return;
  if (state.mode !== "difference") state.before = state.mode;
  state.mode = mode;
  element("gains").hidden = mode !== "difference";
  press("modes", mode);
  moveTo(state.centre);
}

function setGain(gain) {
  state.gain = gain;
  press("gains", String(gain));
  redraw();
}

function press(group, value) {
  for (const button of element(group).children) button.ariaPressed = String(button.value === value);
}

function hold(holding) {
  state.holding = holding && hasOriginal;
  element("hold").ariaPressed = String(state.holding);
  redraw();
}

function setSplit(split) {
  state.split = Math.min(Math.max(split, 0), 1);
  redraw();
}

element("modes").addEventListener("click", ({ target }) => target.value && setMode(target.value));
element("gains").addEventListener("click", ({ target }) => target.value && setGain(Number(target.value)));
element("zoom-in").addEventListener("click", zoomIn);
element("zoom-out").addEventListener("click", zoomOut);
element("zoom-fit").addEventListener("click", zoomToFit);
element("play").addEventListener("click", () => play());
element("slider").addEventListener("input", ({ target }) => stepTo(target.valueAsNumber));
element("help-button").addEventListener("click", () => element("help").showModal());
element("hold").addEventListener("pointerdown", () => hold(true));
for (const name of ["pointerup", "pointerleave", "pointercancel"]) {
  element("hold").addEventListener(name, () => hold(false));
}
element("hold").addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
element("hold").addEventListener("keydown", ({ key }) => key === " " && hold(true));
element("hold").addEventListener("keyup", ({ key }) => key === " " && hold(false));
element("handle").addEventListener("pointerdown", (event) => event.target.setPointerCapture(event.pointerId));
element("handle").addEventListener("pointermove", (event) => {
  const bounds = element("stage").getBoundingClientRect();
  if (event.target.hasPointerCapture(event.pointerId)) setSplit((event.clientX - bounds.left) / bounds.width);
});
window.addEventListener("blur", () => hold(false));
// A button that was pressed with the pointer shall not keep the keys that are the page's.
document.addEventListener("click", ({ detail }) => detail && document.activeElement?.closest("button")?.blur());

const KEYS = {
  ArrowLeft: () => stepTo(state.index - 1),
  ArrowRight: () => stepTo(state.index + 1),
  Home: () => stepTo(0),
  End: () => stepTo(frames.length - 1),
  " ": () => play(),
  "+": zoomIn,
  "=": zoomIn,
  "-": zoomOut,
  0: zoomToFit,
  1: () => setMode("restored"),
  2: () => setMode("wipe"),
  3: () => setMode("side"),
  4: () => setMode("difference"),
  d: () => setMode(state.mode === "difference" ? state.before : "difference"),
  o: () => hold(true),
  "?": () => element("help").showModal(),
};
const HANDLE_KEYS = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || element("help").open) return;
  if (event.target === element("handle") && event.key in HANDLE_KEYS) {
    setSplit(state.split + HANDLE_KEYS[event.key]);
  } else if (event.key === " " && event.target.closest("button, summary")) {
    return; // it presses them
  } else if (Object.hasOwn(KEYS, event.key)) {
    KEYS[event.key]();
  } else {
    return;
  }
  event.preventDefault();
});
document.addEventListener("keyup", ({ key }) => key === "o" && hold(false));

// ---------------------------------------------------------------------------------------- start

document.body.classList.toggle("without-original", !hasOriginal);
element("slider").max = frames.length - 1;
element("curve-title").textContent = hasOriginal ? "PSNR in dB against bytes" : "Noise level t against bytes";
for (const [index, frame] of frames.entries()) {
  const row = element("rows").insertRow();
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = frame.step;
  row.insertCell().append(button);
  const cells = [count(frame.bytes), bppOf(frame).toPrecision(3), count(frame.timestep)];
  for (const text of hasOriginal ? [...cells, psnrOf(frame)] : cells) row.insertCell().textContent = text;
  row.addEventListener("click", () => stepTo(index));
}
if (hasOriginal) {
  load(data.original).then((image) => {
    shown.original = image;
    redraw();
  });
}
setMode(state.mode);
setGain(state.gain);
hold(false);
goTo(state.index);
