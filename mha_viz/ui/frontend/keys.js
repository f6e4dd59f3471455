// The keyboard: arrow keys move the cursor, further keys zoom and choose.

import { moveTo } from "./cursor.js";
import { viewport } from "./cells.js";

export function listenToKeys(instance, signal) {
  const { wrap } = instance;
  wrap.addEventListener("keydown", (event) => event.target === wrap && press(instance, event), { signal });
}

function press(instance, event) {
  if (!instance.panels.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation(); // Streamlit has shortcuts of its own
  action(instance, instance.cursor ?? { panel: 0, query: 0, key: 0 }, event);
}

const step = (queries, keys) => (instance, cell, event) => {
  const far = event.shiftKey ? 10 : 1;
  const started = instance.cursor !== null;
  jump(instance, cell.panel, cell.query + (started ? queries * far : 0), cell.key + (started ? keys * far : 0));
};

const KEYS = {
  ArrowUp: step(-1, 0),
  ArrowDown: step(1, 0),
  ArrowLeft: step(0, -1),
  ArrowRight: step(0, 1),
  PageUp: step(-10, 0),
  PageDown: step(10, 0),
  Home: (instance, cell) => jump(instance, cell.panel, cell.query, 0),
  End: (instance, cell) => jump(instance, cell.panel, cell.query, Infinity),
  "[": (instance, cell) => jump(instance, cell.panel - 1, cell.query, cell.key),
  "]": (instance, cell) => jump(instance, cell.panel + 1, cell.query, cell.key),
  Enter: (instance, cell) => instance.cursor && instance.trigger("cell", { ...cell }),
  " ": (instance, cell) => instance.cursor && instance.trigger("cell", { ...cell }),
  Escape: (instance) => moveTo(instance, null),
  0: (instance) => instance.zoom(null),
  "+": (instance, cell) => instance.zoom(zoomed(instance, cell, 0.5)),
  "-": (instance, cell) => instance.zoom(zoomed(instance, cell, 2)),
};

// How far a view must move to hold a cell.
function shift(at, from, size) {
  return at - 0.5 < from ? at - 0.5 - from : Math.max(0, at + 0.5 - from - size);
}

export function jump(instance, panel, query, key) {
  const next = instance.panels[Math.max(0, Math.min(panel, instance.panels.length - 1))];
  const cell = {
    panel: instance.panels.indexOf(next),
    query: Math.max(0, Math.min(query, next.rows - 1)),
    key: Math.max(0, Math.min(key, next.columns - 1)),
  };
  const view = viewport(instance.gd, next);
  const across = shift(cell.key, view.x0, view.width / view.dx);
  const down = shift(cell.query, view.y0, view.height / view.dy);
  if (Math.abs(across) > 1e-6 || Math.abs(down) > 1e-6) instance.zoom(ranges(view, view.x0 + across, view.y0 + down, 1));
  moveTo(instance, cell, null);
}

function ranges(view, x0, y0, factor) {
  const [across, down] = [(view.width / view.dx) * factor, (view.height / view.dy) * factor];
  return { x: [x0, x0 + across], y: [y0 + down, y0] };
}

function start(at, cells, size) {
  return Math.max(-0.5, Math.min(at - size / 2, cells - 0.5 - size));
}

// A view around the cursor that is larger or smaller by a factor, kept inside the panel.
function zoomed(instance, cell, factor) {
  const panel = instance.panels[cell.panel];
  const view = viewport(instance.gd, panel);
  const [across, down] = [(view.width / view.dx) * factor, (view.height / view.dy) * factor];
  if (across >= panel.columns && down >= panel.rows) return null;
  if (Math.min(across, down) < 1) return ranges(view, view.x0, view.y0, 1);
  const x0 = start(cell.key, panel.columns, Math.min(across, panel.columns));
  const y0 = start(cell.query, panel.rows, Math.min(down, panel.rows));
  return { x: [x0, x0 + Math.min(across, panel.columns)], y: [y0 + Math.min(down, panel.rows), y0] };
}
