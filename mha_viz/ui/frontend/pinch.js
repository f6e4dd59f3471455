// Two fingers on a panel zoom it, and move what it shows along with them; one finger scrolls the page.

import { locate, moveTo } from "./cursor.js";
import { zoomedAt, zoomSoon } from "./zoom.js";

export function listenToPinch(instance, signal) {
  let pinch = null; // which panel, and where the fingers were last
  const begin = (event) => {
    pinch = event.cancelable ? begun(instance, event.touches) : null; // not while the page scrolls
    if (!pinch) return;
    event.preventDefault(); // the page keeps its size
    event.stopPropagation(); // Plotly would change the view, too
    moveTo(instance, null);
  };
  const move = (event) => {
    const panel = pinch && instance.panels[pinch.panel];
    if (!panel) return;
    event.preventDefault();
    const now = between(event.touches);
    zoomSoon(instance, zoomedAt(instance, panel, pinch, now, pinch.apart / now.apart));
    Object.assign(pinch, now);
  };
  const end = () => (pinch = null);
  const listen = (name, act) => instance.wrap.addEventListener(name, act, { signal, capture: true, passive: false });
  listen("touchstart", begin);
  listen("touchmove", move);
  listen("touchend", end);
  listen("touchcancel", end);
}

function begun(instance, touches) {
  const { drawn, painting, place } = instance;
  if (touches.length !== 2 || !drawn || painting.tool || place?.mixed) return null;
  const where = between(touches);
  const cell = locate(instance, where.clientX, where.clientY);
  return cell && { panel: cell.panel, ...where };
}

// The place in the middle of two fingers, and how many pixels they are apart.
function between([one, other]) {
  return {
    clientX: (one.clientX + other.clientX) / 2,
    clientY: (one.clientY + other.clientY) / 2,
    apart: Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY)),
  };
}
