// The keyboard: arrow keys move the cursor, further keys zoom and choose.

import { moveTo } from "./cursor.js";
import { viewport } from "./place.js";
import { blockOf } from "./raster.js";
import { viewNow, zoom, zoomed } from "./zoom.js";

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
  action(instance, instance.cursor ?? firstCell(instance), event);
}

function within(at, cells) {
  return Math.max(0, Math.min(at, cells - 1));
}

// Where the cursor appears: in a zoomed figure at the cell that was gone to, or in the middle.
function firstCell(instance) {
  const { views, panels, frame } = instance;
  const start = { panel: 0, query: 0, key: 0 };
  if (!views) return start;
  const { x, y } = viewNow(instance);
  const [query, key] = frame.goto ?? [];
  if (x[0] <= key && key <= x[1] && y[1] <= query && query <= y[0]) return { ...start, query, key };
  const middle = { query: Math.round((y[0] + y[1]) / 2), key: Math.round((x[0] + x[1]) / 2) };
  return { ...start, query: within(middle.query, panels[0].rows), key: within(middle.key, panels[0].columns) };
}

const step = (queries, keys) => (instance, cell, event) => {
  const far = (event.shiftKey ? 10 : 1) * unit(instance, cell);
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
  Enter: (instance, cell) => instance.cursor && instance.trigger("cell", blockOf(instance, cell)),
  " ": (instance, cell) => instance.cursor && instance.trigger("cell", blockOf(instance, cell)),
  Escape: (instance) => moveTo(instance, null),
  0: (instance) => zoom(instance, null),
  "+": (instance, cell) => zoom(instance, zoomed(instance, cell, 0.5)),
  "=": (instance, cell) => zoom(instance, zoomed(instance, cell, 0.5)), // where plus needs Shift
  "-": (instance, cell) => zoom(instance, zoomed(instance, cell, 2)),
};

// How far a view must move to hold a cell, or a block of `side` cells.
function shift(at, side, from, size) {
  return at - 0.5 < from ? at - 0.5 - from : Math.max(0, at - 0.5 + Math.min(side, size) - from - size);
}

// How many cells a step is: those of a block, as it is or as it will be when the finer ones have come.
function unit(instance, cell) {
  return Math.min(blockOf(instance, cell).side, instance.loading?.side ?? Infinity);
}

export function jump(instance, panel, query, key) {
  const next = instance.panels[Math.max(0, Math.min(panel, instance.panels.length - 1))];
  const cell = { panel: instance.panels.indexOf(next), query: within(query, next.rows), key: within(key, next.columns) };
  const side = unit(instance, cell);
  cell.query -= cell.query % side;
  cell.key -= cell.key % side;
  const view = viewport(instance.gd, next);
  const [across, down] = [view.width / view.dx, view.height / view.dy];
  const right = shift(cell.key, side, view.x0, across);
  const below = shift(cell.query, side, view.y0, down);
  if (Math.abs(right) > 1e-6 || Math.abs(below) > 1e-6) {
    zoom(instance, { x: [view.x0 + right, view.x0 + right + across], y: [view.y0 + below + down, view.y0 + below] });
  }
  moveTo(instance, cell, null);
}
