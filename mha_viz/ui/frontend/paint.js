// Painting on cells: a tool bar, strokes by mouse, pen, finger or keyboard, and one message for each stroke.
// A stroke that starts on an allowed cell masks, one that starts on a masked cell allows.

import { locate, moveTo, nearest, showCursor } from "./cursor.js";
import { jump } from "./keys.js";
import { begin, count, covers, extend } from "./strokes.js";

const PATIENCE = 5000; // ms after which a message that nobody answered is given up

// The listeners come before those of clicks and of the keyboard, and keep from them what painting uses.
export function listenToPainting(instance, signal) {
  const { wrap, tools } = instance;
  instance.painting = { tool: "", stroke: null, anchor: null, pending: [], sent: 0 };
  const listen = (node, name, act) => node.addEventListener(name, act, { signal, capture: true });
  tools.addEventListener("click", (event) => pick(instance, event.target.closest("button")?.value), { signal });
  listen(wrap, "pointerdown", (event) => press(instance, event));
  listen(window, "pointermove", (event) => drag(instance, event));
  listen(window, "pointerup", (event) => release(instance, event));
  listen(window, "pointercancel", (event) => event.pointerId === instance.painting.pointer && cancel(instance));
  // Plotly zooms by these; it hears nothing of a stroke.
  for (const name of ["mousedown", "touchstart"]) listen(wrap, name, (event) => hide(instance, event));
  listen(wrap.parentElement, "keydown", (event) => key(instance, event));
}

// After new data: shows or hides the tools, forgets the strokes that it answers or that it has no place for.
export function keepPainting(instance, resized) {
  const { painting, frame, tools } = instance;
  tools.hidden = !frame.paint;
  if (!frame.paint) pick(instance, "");
  if (!frame.paint || resized) forget(painting);
  if (frame.paint?.answered === painting.pending[0]?.message.serial) next(instance);
}

// What is on its way goes on; the rest would fall on other cells than those that it was meant for.
function forget(painting) {
  const sent = painting.pending.slice(0, 1).map(({ message }) => ({ message, stroke: null }));
  Object.assign(painting, { stroke: null, anchor: null, pending: sent });
}

export function stopPainting({ painting }) {
  clearTimeout(painting.patience);
}

function pick(instance, tool) {
  if (tool === undefined) return;
  const { painting, tools, wrap } = instance;
  painting.tool = tool === painting.tool ? "" : tool;
  wrap.dataset.tool = painting.tool;
  for (const button of tools.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.value === painting.tool));
  }
}

function paintable(instance, cell) {
  return Boolean(cell && instance.frame?.paint?.panels.includes(cell.panel));
}

// Whether a cell is allowed, once all strokes that were sent are answered.
function allows(instance, cell) {
  const latest = instance.painting.pending.findLast(({ stroke }) => stroke?.place === cell.panel && covers(stroke, cell));
  if (latest) return latest.stroke.value;
  const panel = instance.panels[cell.panel];
  const at = cell.query * panel.columns + cell.key;
  const { allowed } = instance.frame.paint;
  return allowed ? allowed[at] === 1 : !panel.raster?.state?.[at];
}

function started(instance, tool, cell) {
  return { ...begin(tool, instance.panels[cell.panel], cell, !allows(instance, cell)), place: cell.panel };
}

function target(instance, event) {
  const { painting, drawn } = instance;
  if (!painting.tool || !drawn || event.target.closest?.(".modebar")) return null;
  const { clientX, clientY } = event.touches?.[0] ?? event;
  const cell = locate(instance, clientX, clientY);
  return paintable(instance, cell) ? cell : null;
}

function hide(instance, event) {
  if (target(instance, event)) event.stopPropagation();
}

function press(instance, event) {
  const { painting, wrap } = instance;
  const cell = target(instance, event);
  if (!cell || (event.pointerType === "mouse" && event.button !== 0)) return;
  event.stopImmediatePropagation();
  if (!event.isPrimary) return; // a second finger
  event.preventDefault();
  wrap.focus({ preventScroll: true, focusVisible: false });
  wrap.setPointerCapture(event.pointerId); // a stroke may leave the window and come back
  Object.assign(painting, { stroke: started(instance, painting.tool, cell), anchor: null, pointer: event.pointerId });
  if (event.pointerType === "touch") moveTo(instance, null);
  showCursor(instance);
}

function drag(instance, event) {
  const { stroke, pointer } = instance.painting;
  if (!stroke || event.pointerId !== pointer) return;
  const cell = stroke.tool === "brush" ? locate(instance, event.clientX, event.clientY) : nearest(instance, stroke, event);
  if (cell && (cell.panel ?? stroke.place) === stroke.place) extend(stroke, cell);
  showCursor(instance);
}

function release(instance, event) {
  const { painting } = instance;
  if (!painting.stroke || event.pointerId !== painting.pointer) return;
  drag(instance, event);
  const { stroke } = painting;
  painting.stroke = null;
  commit(instance, stroke);
}

function cancel(instance) {
  Object.assign(instance.painting, { stroke: null, anchor: null });
  showCursor(instance);
}

function commit(instance, stroke) {
  const { place, runs, value } = stroke;
  const cells = count(stroke);
  instance.status.textContent = `${cells} ${cells === 1 ? "cell" : "cells"} ${value ? "allowed" : "masked"}`;
  send(instance, { panel: place, runs, value }, stroke);
  showCursor(instance);
}

// Streamlit keeps only the newest message that a busy server has not taken: the next one waits for the answer.
function send(instance, content, stroke) {
  const { painting } = instance;
  painting.sent += 1;
  painting.pending.push({ message: { serial: painting.sent, ...content }, stroke });
  if (painting.pending.length === 1) post(instance);
}

function post(instance) {
  const { painting } = instance;
  painting.patience = setTimeout(() => next(instance), PATIENCE);
  instance.trigger("paint", painting.pending[0].message);
}

function next(instance) {
  const { painting } = instance;
  clearTimeout(painting.patience);
  painting.pending.shift();
  if (painting.pending.length) post(instance);
  showCursor(instance);
}

function key(instance, event) {
  if (!instance.frame?.paint || event.altKey || event.defaultPrevented) return;
  const command = event.ctrlKey || event.metaKey ? COMMANDS[chord(event)] : null;
  const inPlot = event.target === instance.wrap && !event.ctrlKey && !event.metaKey;
  const used = command ? (send(instance, { [command]: true }, null), true) : inPlot && paintByKey(instance, event);
  if (!used) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}

function chord({ key: letter, shiftKey }) {
  return `${shiftKey ? "shift " : ""}${letter.toLowerCase()}`;
}

const COMMANDS = { z: "undo", "shift z": "redo", y: "redo" };

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const KEY_TOOLS = { " ": "rectangle", r: "row", c: "column" };

// Returns whether painting has a use for the key.
function paintByKey(instance, event) {
  const { painting, cursor } = instance;
  if (event.key === "Escape" && (painting.stroke || painting.anchor)) {
    cancel(instance);
    return true;
  }
  if (!paintable(instance, cursor)) return false;
  const arrow = ARROWS[event.key];
  const tool = KEY_TOOLS[event.key.toLowerCase()];
  if (arrow && event.shiftKey) {
    painting.anchor ??= { ...cursor };
    jump(instance, cursor.panel, cursor.query + arrow[0], cursor.key + arrow[1]);
    return true;
  }
  if (tool) commit(instance, extend(started(instance, tool, painting.anchor ?? cursor), cursor));
  if (tool || !event.shiftKey) painting.anchor = null; // pressing Shift is a key of its own
  return tool !== undefined;
}
