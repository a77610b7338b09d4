// The curve: quality against bytes, one point for each frame. Quality is the PSNR, or without an original the timestep.

const PLOT = { left: 40, right: 350, top: 14, bottom: 204 };

function makeCurve(svg, frames, hasOriginal, pick) {
  const log = Math.log10;
  const bytes = frames.map((frame) => frame.bytes);
  const [fewest, most] = widened(log(Math.min(...bytes)), log(Math.max(...bytes)), 0.05);
  const toX = (value) => interpolate(log(value), fewest, most, PLOT.left, PLOT.right);

  // t = 0 has a place on a logarithmic axis of 1 + t.
  const height = (frame) => (hasOriginal ? frame.psnr : -log(1 + frame.timestep));
  const known = frames.map(height).filter((value) => value !== null);
  const [low, high] = known.length ? widened(Math.min(...known), Math.max(...known), 0.08) : [0, 1];
  const heightToY = (value) => interpolate(value, low, high, PLOT.bottom, PLOT.top);
  const toY = (frame) => (height(frame) === null ? PLOT.top : heightToY(height(frame))); // exact is above all

  const add = (name, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    svg.append(element);
    return element;
  };

  for (const value of byteTicks(10 ** fewest, 10 ** most)) {
    const x = toX(value);
    add("line", { x1: x, x2: x, y1: PLOT.top, y2: PLOT.bottom, class: "grid" });
    add("text", { x, y: PLOT.bottom + 15, "text-anchor": "middle" }, shortBytes(value));
  }
  const heights = hasOriginal
    ? (known.length ? evenTicks(low, high) : []).map((value) => [value, String(value)])
    : [0, 1, 10, 100, 1000].map((value) => [-log(1 + value), String(value)]);
  for (const [value, text] of heights.filter(([value]) => value >= low && value <= high)) {
    const y = heightToY(value);
    add("line", { x1: PLOT.left, x2: PLOT.right, y1: y, y2: y, class: "grid" });
    add("text", { x: PLOT.left - 6, y: y + 4, "text-anchor": "end" }, text);
  }

  const points = frames.map((frame) => [toX(frame.bytes), toY(frame)]);
  add("polyline", { points: points.map((point) => point.join(",")).join(" "), class: "line" });
  const lead = add("polyline", { class: "lead" });
  for (const [cx, cy] of points) add("circle", { cx, cy, r: 2.6, class: "point" });
  const current = add("circle", { r: 6, class: "current" });

  const pickNearest = (event) => {
    const bounds = svg.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * svg.viewBox.baseVal.width;
    const distances = points.map((point) => Math.abs(point[0] - x));
    pick(distances.indexOf(Math.min(...distances)));
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    pickNearest(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (svg.hasPointerCapture(event.pointerId)) pickNearest(event);
  });

  return (index) => {
    const [x, y] = points[index];
    current.setAttribute("cx", x);
    current.setAttribute("cy", y);
    lead.setAttribute("points", `${PLOT.left},${y} ${x},${y} ${x},${PLOT.bottom}`);
  };
}

function interpolate(value, low, high, from, to) {
  return from + ((value - low) / (high - low)) * (to - from);
}

function widened(low, high, share) {
  const margin = (high - low) * share || 0.5;
  return [low - margin, high + margin];
}

function evenTicks(low, high) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((candidate) => (high - low) / candidate <= 7) ?? 20;
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: count }, (_, place) => Number(((Math.ceil(low / step) + place) * step).toFixed(1)));
}

function byteTicks(low, high) {
  const ticks = [];
  for (let power = 1; power <= high; power *= 10) {
    ticks.push(...[1, 2, 5].map((digit) => digit * power).filter((value) => value >= low && value <= high));
  }
  return ticks.length <= 7 ? ticks : ticks.filter((value) => Number.isInteger(Math.log10(value)));
}

function shortBytes(value) {
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1e3 ? `${value / 1e3} k` : String(value);
}
