// Move a small picture out of the way. It stays inside its host; a double click or Home brings it back.

/** @param {HTMLElement} element @param {HTMLElement} host @param {() => boolean} allowed */
export function makeDraggable(element, host, allowed) {
  let x = 0, y = 0;
  /** @type {{x: number, y: number}|null} */
  let from = null;
  const place = () => {
    element.style.setProperty("--drag-x", `${x}px`);
    element.style.setProperty("--drag-y", `${y}px`);
  };
  element.addEventListener("pointerdown", (event) => {
    if (!allowed()) return;
    from = { x: event.clientX - x, y: event.clientY - y };
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    if (!from) return;
    const box = element.getBoundingClientRect(), room = host.getBoundingClientRect();
    const [wantedX, wantedY] = [event.clientX - from.x, event.clientY - from.y];
    x = Math.min(Math.max(wantedX, x - (box.left - room.left)), x + (room.right - box.right));
    y = Math.min(Math.max(wantedY, y - (box.top - room.top)), y + (room.bottom - box.bottom));
    place();
  });
  const drop = () => { from = null; };
  element.addEventListener("pointerup", drop);
  element.addEventListener("pointercancel", drop);
  element.addEventListener("dblclick", () => { x = 0; y = 0; place(); });
}
