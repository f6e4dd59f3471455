// A small map of the whole panel while a figure is zoomed: a frame shows what is in view, and can be dragged.

import { paintRaster, prepare } from "./cells.js";
import { centred, viewNow, zoomSoon } from "./zoom.js";

const LEAST = 5; // px that the frame has at least

const copies = new WeakMap(); // a bitmap of its own for each raster, beside that of the large picture

export function drawMap(instance) {
  const { map, place, views, panels, theme, ratio } = instance;
  map.hidden = !views || !place?.map;
  if (map.hidden) return;
  const { left, top, width, height } = place.map;
  Object.assign(map.style, { left: `${left}px`, top: `${top}px` });
  const panel = panels[instance.over] ?? panels[0];
  const context = prepare(map, width, height, ratio);
  const whole = { left: 0, top: 0, width, height, x0: -0.5, y0: -0.5, dx: width / panel.columns, dy: height / panel.rows };
  if (panel.raster) paintRaster(context, copyOf(panel.raster), whole, theme.look, ratio);
  drawFrame(context, whole, theme.look, viewNow(instance));
}

function copyOf(raster) {
  if (!copies.has(raster)) copies.set(raster, { ...raster, bitmap: undefined, spare: undefined });
  return copies.get(raster);
}

function drawFrame(context, { width, height, dx, dy }, look, { x, y }) {
  const [across, down] = [Math.max(LEAST, (x[1] - x[0]) * dx), Math.max(LEAST, (y[0] - y[1]) * dy)];
  const left = Math.min(Math.max(0, ((x[0] + x[1] + 1) / 2) * dx - across / 2), width - across);
  const top = Math.min(Math.max(0, ((y[0] + y[1] + 1) / 2) * dy - down / 2), height - down);
  for (const [colour, line] of [[look.line, 4], ["#ffffff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(left + 1, top + 1, across - 2, down - 2);
  }
}

// A press or a drag brings the place under the pointer into the middle of the view.
export function listenToMap(instance, signal) {
  const { map } = instance;
  const go = (event) => {
    if (!map.hasPointerCapture(event.pointerId)) return;
    const [panel] = instance.panels;
    const frame = map.getBoundingClientRect();
    const key = ((event.clientX - frame.left) / frame.width) * panel.columns - 0.5;
    const query = ((event.clientY - frame.top) / frame.height) * panel.rows - 0.5;
    const { x, y } = viewNow(instance);
    zoomSoon(instance, centred(panel, { query, key }, y[0] - y[1], x[1] - x[0]));
  };
  const take = (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    map.setPointerCapture(event.pointerId);
    go(event);
  };
  map.addEventListener("pointerdown", take, { signal });
  map.addEventListener("pointermove", go, { signal });
}
