// Pointing at cells: pointer, touch and keyboard move one cursor; it shows a tooltip and a cross in every panel.

import { cellBox, prepare, viewport } from "./cells.js";
import { visible } from "./layout.js";

const WORDS = [
  "",
  "masked by attn_mask",
  "masked by key_padding_mask",
  "masked by attn_mask and key_padding_mask",
  "NaN: not a number",
  "violation",
];
const VIOLATION = 5;
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
    if (key >= 0 && query >= 0 && key < panel.columns && query < panel.rows) return { panel: i, query, key };
  }
  return null;
}

function number(value) {
  return String(Number(value.toPrecision(6)));
}

function weightText(instance, panel, at) {
  if (panel.values) return number(panel.values[at]);
  if (!panel.missing) return "…";
  if (panel.scaled) return "not kept any more";
  return `≈ ${number(panel.zmin + (panel.cells[at] / 255) * (panel.zmax - panel.zmin))}`;
}

function named(index, tokens) {
  return tokens[index] === undefined || tokens[index] === String(index) ? `${index}` : `${index} “${visible(tokens[index])}”`;
}

// What there is to say about a cell: pairs of a label and its text.
function facts(instance, cell) {
  const panel = instance.panels[cell.panel];
  const { queries, keys, queryTitle, keyTitle } = instance.figure;
  const at = cell.query * panel.columns + cell.key;
  const state = panel.state ? panel.state[at] : 0;
  const weight = weightText(instance, panel, at);
  const found = [
    [queryTitle || "query", named(cell.query, queries)],
    [keyTitle || "key", named(cell.key, keys)],
    ["weight", weight],
  ];
  if (state === VIOLATION) found.push(["", `masked, yet weight ${weight}: a violation`]);
  else if (state) found.push(["", WORDS[state] ?? ""]);
  return found;
}

function write(tip, title, lines) {
  const rows = lines.map(([label, text]) => {
    const row = document.createElement("div");
    const strong = document.createElement("b");
    strong.textContent = text;
    row.append(label ? `${label} ` : "", strong);
    return row;
  });
  const head = document.createElement("div");
  head.textContent = title;
  tip.replaceChildren(...(title ? [head] : []), ...rows);
}

function position(instance, cell) {
  const { tip, wrap } = instance;
  const box = cellBox(viewport(instance.gd, instance.panels[cell.panel]), cell.query, cell.key);
  const point = instance.pointer ?? { x: box.left + box.width, y: box.top + box.height };
  const across = point.x + 14 + tip.offsetWidth > wrap.clientWidth ? point.x - 14 - tip.offsetWidth : point.x + 14;
  const down = point.y + 14 + tip.offsetHeight > wrap.clientHeight ? point.y - 14 - tip.offsetHeight : point.y + 14;
  const left = Math.max(0, Math.min(across, wrap.clientWidth - tip.offsetWidth));
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(Math.max(0, down))}px)`;
}

// Draws twice, wide and faint, then thin: visible on dark and on light cells.
function stroke(context, look, path) {
  context.strokeStyle = look.halo;
  context.lineWidth = 3;
  context.stroke(path);
  context.strokeStyle = look.line;
  context.lineWidth = 1;
  context.stroke(path);
}

function markCross(context, view, cell, look) {
  const box = cellBox(view, cell.query, cell.key);
  const path = new Path2D();
  path.rect(box.left, view.top, box.width, view.height);
  path.rect(view.left, box.top, view.width, box.height);
  context.globalAlpha = 0.55;
  stroke(context, look, path);
  context.globalAlpha = 1;
  const own = new Path2D();
  own.rect(box.left - 1, box.top - 1, box.width + 2, box.height + 2);
  stroke(context, look, own);
}

function markSelected(context, view, [, query, key], look) {
  const box = cellBox(view, query, key);
  const width = Math.max(box.width, 6);
  const height = Math.max(box.height, 6);
  const path = new Path2D();
  path.rect(box.left + (box.width - width) / 2 - 1, box.top + (box.height - height) / 2 - 1, width + 2, height + 2);
  context.strokeStyle = look.halo;
  context.lineWidth = 5;
  context.stroke(path);
  context.strokeStyle = look.line;
  context.lineWidth = 2.5;
  context.stroke(path);
}

export function drawMarks(instance) {
  const { gd, marks, cursor, panels, frame, theme } = instance;
  const size = [gd.clientWidth, gd.clientHeight];
  const needed = Boolean(cursor || frame.selected);
  if (!needed && instance.blank === size.join()) return; // clearing a large canvas takes milliseconds
  instance.blank = needed ? "" : size.join();
  const context = prepare(marks, ...size, instance.ratio);
  panels.forEach((panel, i) => {
    const view = viewport(gd, panel);
    const chosen = frame.selected?.[0] === i;
    if (!view || !(cursor || chosen)) return;
    context.save();
    context.beginPath();
    context.rect(view.left - 3, view.top - 3, view.width + 6, view.height + 6);
    context.clip();
    if (chosen) markSelected(context, view, frame.selected, theme.look);
    if (cursor && cursor.query < panel.rows && cursor.key < panel.columns) markCross(context, view, cursor, theme.look);
    context.restore();
  });
}

// Shows the cursor, or hides it where there is none, at most once a frame.
export function showCursor(instance) {
  instance.shown ??= requestAnimationFrame(() => {
    instance.shown = undefined;
    if (!instance.wrap.isConnected || !instance.gd._fullLayout) return;
    drawMarks(instance);
    const { cursor, tip } = instance;
    tip.hidden = !cursor;
    if (!cursor) return;
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
  if (instance.cursor) want(instance, instance.cursor.panel);
}

function want(instance, index) {
  const panel = instance.panels[index];
  if (panel.values || panel.waiting || (panel.missing && Date.now() < panel.missing + RETRY)) return;
  clearTimeout(instance.dwell);
  instance.dwell = setTimeout(() => fetchValues(instance, panel), DWELL);
}

async function fetchValues(instance, panel) {
  if (panel.waiting || !instance.panels.includes(panel)) return;
  panel.waiting = true;
  try {
    const answer = await fetch(new URL(`../values/${panel.digest}`, import.meta.url));
    if (answer.ok) panel.values = new Float32Array(await answer.arrayBuffer());
    else lost(instance, panel);
  } catch {
    panel.missing = Date.now(); // offline: asked for again when somebody points at the panel
  }
  panel.waiting = false;
  if (instance.panels.includes(panel)) showCursor(instance);
}

// The server dropped the values: a rerun keeps them again. Once a revision, or two servers could go on for ever.
function lost(instance, panel) {
  panel.missing = Date.now();
  if (instance.reported === instance.revision) return;
  instance.reported = instance.revision;
  instance.trigger("stale", panel.digest);
  instance.dwell = setTimeout(() => instance.cursor && want(instance, instance.cursor.panel), RETRY + 1);
}

function moveTo(instance, cell, pointer) {
  instance.cursor = cell;
  instance.pointer = pointer;
  if (cell) want(instance, cell.panel);
  showCursor(instance);
}

function pointAt(instance, event) {
  const frame = instance.gd.getBoundingClientRect();
  const cell = event.target.closest?.(".modebar") ? null : locate(instance, event.clientX, event.clientY);
  moveTo(instance, cell, { x: event.clientX - frame.left, y: event.clientY - frame.top });
}

export function listen(instance, signal) {
  const { wrap } = instance;
  wrap.addEventListener("pointermove", (event) => event.pointerType !== "touch" && pointAt(instance, event), { signal });
  wrap.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && moveTo(instance, null), { signal });
  wrap.addEventListener("blur", () => !instance.pointer && moveTo(instance, null), { signal });
  wrap.addEventListener("keydown", (event) => event.target === wrap && press(instance, event), { signal });
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

function jump(instance, panel, query, key) {
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
