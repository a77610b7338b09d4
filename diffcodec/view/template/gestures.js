// Dragging, pinching and the wheel, as calls of `pan(dx, dy)` and `zoomBy(factor, x, y)`, in CSS pixels.

function listenForGestures(element, { pan, zoomBy }) {
  const pointers = new Map();

  const middle = () => {
    const places = [...pointers.values()];
    const [first, second = first] = places;
    return {
      x: (first.x + second.x) / 2,
      y: (first.y + second.y) / 2,
      span: Math.hypot(first.x - second.x, first.y - second.y),
    };
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || pointers.size === 2) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  });
  element.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middle();
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const after = middle();
    pan(after.x - before.x, after.y - before.y);
    if (before.span && after.span) zoomBy(after.span / before.span, after.x, after.y);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1);
      // A pinch on a touchpad comes as small turns of a wheel with the control key.
      zoomBy(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
    },
    { passive: false },
  );
}
