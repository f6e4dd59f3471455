// Pointing at cells: pointer, touch and keyboard move one cursor; it shows a tooltip and a cross in every panel.

import { again } from "./finer.js";
import { announce } from "./link.js";
import { drawMarks } from "./marks.js";
import { drawMap } from "./minimap.js";
import { viewport } from "./place.js";
import { blockOf, rasterAt, rastersOf } from "./raster.js";
import { facts, position, write } from "./tip.js";

const DWELL = 60; // ms over a panel before its values are fetched: passing over eight heads must not fetch eight
const RETRY = 2000; // ms before values that were not there are asked for again
const TAP = 10; // px that a finger may move in a tap
const CLICK = 4;

export function locate(instance, clientX, clientY) {
  const frame = instance.gd.getBoundingClientRect();
  const [x, y] = [clientX - frame.left, clientY - frame.top];
  for (const [i, panel] of instance.panels.entries()) {
    const view = viewport(instance.gd, panel);
    if (!view || x < view.left || y < view.top || x >= view.left + view.width || y >= view.top + view.height) continue;
    const key = Math.round((x - view.left) / view.dx + view.x0);
    const query = Math.round((y - view.top) / view.dy + view.y0);
    if (key >= 0 && query >= 0 && key < panel.columns && query < panel.rows) return blockOf(instance, { panel: i, query, key });
  }
  return null;
}

function clamped(value, most) {
  return Math.max(0, Math.min(value, most));
}

// The cell of a stroke's panel that is nearest to a place, which may lie outside the panel.
export function nearest(instance, { place, panel }, { clientX, clientY }) {
  const frame = instance.gd.getBoundingClientRect();
  const view = viewport(instance.gd, instance.panels[place]);
  const x = clamped(clientX - frame.left - view.left, view.width - 1e-6) / view.dx + view.x0;
  const y = clamped(clientY - frame.top - view.top, view.height - 1e-6) / view.dy + view.y0;
  return { query: clamped(Math.round(y), panel.rows - 1), key: clamped(Math.round(x), panel.columns - 1) };
}

// Shows the cursor, or hides it where there is none, at most once a frame.
export function showCursor(instance) {
  announce(instance);
  instance.shown ??= requestAnimationFrame(() => {
    instance.shown = undefined;
    if (!instance.wrap.isConnected || !instance.gd._fullLayout) return;
    drawMarks(instance);
    const { cursor, tip } = instance;
    tip.hidden = !cursor || Boolean(instance.linked) || instance.painting.stroke !== null;
    if (!cursor || instance.linked) return;
    const { title } = instance.panels[cursor.panel];
    const lines = facts(instance, cursor);
    write(tip, title, lines);
    position(instance, cursor);
    if (!instance.pointer) instance.status.textContent = [title, ...lines.map((line) => line.join(" "))].join(", ");
  });
}

// The cursor stays over new data; it goes when the figure has become smaller.
export function keepCursor(instance) {
  const { cursor, panels } = instance;
  const panel = cursor && panels[cursor.panel];
  if (cursor && !(panel && cursor.query < panel.rows && cursor.key < panel.columns)) instance.cursor = null;
  if (instance.cursor) want(instance, instance.cursor);
}

// After a change of the cells: the pointer that has not moved may be over another block now.
export function pointAgain(instance) {
  if (!instance.cursor) return;
  const { pointer } = instance;
  const frame = pointer && instance.gd.getBoundingClientRect();
  const cell = pointer ? locate(instance, pointer.x + frame.left, pointer.y + frame.top) : blockOf(instance, instance.cursor);
  moveTo(instance, cell, pointer);
}

function want(instance, cell) {
  const raster = rasterAt(instance, cell);
  if (!raster || raster.values || raster.waiting || (raster.missing && Date.now() < raster.missing + RETRY)) return;
  clearTimeout(instance.dwell);
  instance.dwell = setTimeout(() => fetchValues(instance, raster), DWELL);
}

function isShown(instance, raster) {
  return instance.panels.some((_, i) => rastersOf(instance, i).includes(raster));
}

async function fetchValues(instance, raster) {
  if (raster.waiting || !isShown(instance, raster)) return;
  raster.waiting = true;
  try {
    const answer = await fetch(new URL(`../values/${raster.digest}`, import.meta.url));
    if (answer.ok) raster.values = new Float32Array(await answer.arrayBuffer());
    else lost(instance, raster);
  } catch {
    raster.missing = Date.now(); // offline: asked for again when somebody points at the panel
  }
  raster.waiting = false;
  if (isShown(instance, raster)) showCursor(instance);
}

// The server dropped the values: a rerun keeps them again. Once a revision, or two servers could go on for ever.
function lost(instance, raster) {
  raster.missing = Date.now();
  if (instance.reported === instance.revision) return;
  instance.reported = instance.revision;
  if (instance.region?.rasters.includes(raster)) {
    again(instance);
    return;
  }
  instance.trigger("stale", raster.digest);
  instance.dwell = setTimeout(() => instance.cursor && want(instance, instance.cursor), RETRY + 1);
}

export function moveTo(instance, cell, pointer) {
  instance.cursor = cell;
  instance.pointer = pointer;
  if (cell) want(instance, cell);
  if (cell && cell.panel !== instance.over) {
    instance.over = cell.panel;
    drawMap(instance);
  }
  showCursor(instance);
}

function pointAt(instance, event) {
  const frame = instance.gd.getBoundingClientRect();
  const cell = event.target.closest?.(".modebar") ? null : locate(instance, event.clientX, event.clientY);
  moveTo(instance, cell, { x: event.clientX - frame.left, y: event.clientY - frame.top });
}

export function listenToPointer(instance, signal) {
  const { wrap } = instance;
  wrap.addEventListener("pointermove", (event) => event.pointerType !== "touch" && pointAt(instance, event), { signal });
  wrap.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && moveTo(instance, null), { signal });
  wrap.addEventListener("blur", () => !instance.pointer && moveTo(instance, null), { signal });
  listenForClicks(instance, signal);
}

// Plotly lays a cover over the page while a button is down, so the end of a click is heard at the window.
function listenForClicks(instance, signal) {
  const { wrap } = instance;
  let down = null;
  const begin = (event) => {
    down = event.isPrimary && event.button === 0 && !event.target.closest?.(".modebar") ? event : null;
  };
  const end = (event) => {
    if (!down || down.pointerId !== event.pointerId) return;
    const moved = Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY);
    const cell = moved <= (event.pointerType === "touch" ? TAP : CLICK) && locate(instance, down.clientX, down.clientY);
    if (cell) {
      wrap.focus({ preventScroll: true, focusVisible: false });
      pointAt(instance, down);
      instance.trigger("cell", cell);
    }
    down = null;
  };
  const outside = (event) => event.pointerType === "touch" && !wrap.contains(event.target) && moveTo(instance, null);
  wrap.addEventListener("pointerdown", begin, { signal, capture: true });
  window.addEventListener("pointerdown", outside, { signal });
  window.addEventListener("pointerup", end, { signal, capture: true });
  window.addEventListener("pointercancel", () => (down = null), { signal });
}
