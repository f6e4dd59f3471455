// Paints cells: colours from the bytes through a small bitmap, states (masked, NaN, violation) in screen pixels.

import { bitmap } from "./bitmap.js";
import { cellBox } from "./place.js";
import { viewOf } from "./raster.js";

const MASKED = 1;
const PADDED = 2;
const BOTH = 3;
const NAN = 4;
const VIOLATION = 5;
const DIRECTIONS = { [MASKED]: [1], [PADDED]: [-1], [BOTH]: [1, -1] };
const HATCH_FROM = 4; // px: smaller cells are plain grey
const GLYPH_FROM = 8; // px: smaller NaN cells have no X
const OUTLINE_FROM = 6; // px: smaller violations are filled
const SPOT = 2; // px: smaller cells that must be seen are drawn as large as this

const specials = new WeakMap();
const hatches = new WeakMap();

function within(value, end) {
  return Math.min(Math.max(Math.round(value), 0), end);
}

function visibleCells(view, panel) {
  return {
    top: within(view.y0, panel.rows - 1),
    left: within(view.x0, panel.columns - 1),
    bottom: within(view.y0 + view.height / view.dy, panel.rows - 1),
    right: within(view.x0 + view.width / view.dx, panel.columns - 1),
  };
}

function specialCells(state) {
  if (!specials.has(state)) {
    const found = { [NAN]: [], [VIOLATION]: [] };
    for (let i = 0; i < state.length; i += 1) if (state[i] >= NAN) found[state[i]]?.push(i);
    specials.set(state, found);
  }
  return specials.get(state);
}

// Runs of hatched cells as paths from the panel's corner, kept because all heads mostly share mask and zoom.
function hatchPaths(panel, view) {
  const key = [view.x0, view.y0, view.dx, view.dy, view.width, view.height].join();
  const kept = hatches.get(panel.state);
  if (kept?.key === key) return kept.paths;
  const paths = { [MASKED]: new Path2D(), [PADDED]: new Path2D(), [BOTH]: new Path2D() };
  const seen = visibleCells(view, panel);
  for (let row = seen.top; row <= seen.bottom; row += 1) {
    const base = row * panel.columns;
    for (let from = seen.left; from <= seen.right; ) {
      const code = panel.state[base + from];
      let to = from + 1;
      while (to <= seen.right && panel.state[base + to] === code) to += 1;
      const x = (from - 0.5 - view.x0) * view.dx;
      paths[code]?.rect(x, (row - 0.5 - view.y0) * view.dy, (to - from) * view.dx, view.dy);
      from = to;
    }
  }
  hatches.set(panel.state, { key, paths });
  return paths;
}

// A tile of diagonal lines; -1 falls, 1 rises, both cross. Drawn in device pixels, so it stays sharp.
function hatchTile(directions, colour, ratio) {
  const size = Math.round(6 * ratio);
  const tile = new OffscreenCanvas(size, size);
  const context = tile.getContext("2d");
  context.strokeStyle = colour;
  context.lineWidth = 1.1 * ratio;
  for (const direction of directions) {
    for (const shift of [-size, 0, size]) {
      const [from, to] = direction > 0 ? [size + 1, -1] : [-1, size + 1];
      context.moveTo(shift - 1, from);
      context.lineTo(shift + size + 1, to);
    }
  }
  context.stroke();
  return tile;
}

// The hatch of a masked cell as a canvas pattern.
export function hatch(context, look, ratio, code = MASKED) {
  look.tiles ??= {};
  const tile = (look.tiles[`${code}:${ratio}`] ??= hatchTile(DIRECTIONS[code], look.hatch, ratio));
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern;
}

function paintHatches(context, panel, view, look, ratio) {
  const paths = hatchPaths(panel, view);
  context.save();
  context.translate(view.left, view.top);
  for (const [code, path] of Object.entries(paths)) {
    context.fillStyle = hatch(context, look, ratio, Number(code));
    context.fill(path);
  }
  context.restore();
}

function eachVisible(indices, panel, view, draw) {
  for (const i of indices) {
    const [row, column] = [Math.floor(i / panel.columns), i % panel.columns];
    const box = cellBox(view, row, column);
    const outside =
      box.left + box.width < view.left ||
      box.top + box.height < view.top ||
      box.left > view.left + view.width ||
      box.top > view.top + view.height;
    if (!outside) draw(box, row, column);
  }
}

function paintCrosses(context, panel, view, look) {
  context.beginPath();
  eachVisible(specialCells(panel.state)[NAN], panel, view, ({ left, top, width, height }) => {
    const inset = Math.min(width, height) * 0.22;
    context.moveTo(left + inset, top + inset);
    context.lineTo(left + width - inset, top + height - inset);
    context.moveTo(left + width - inset, top + inset);
    context.lineTo(left + inset, top + height - inset);
  });
  context.strokeStyle = look.cross;
  context.lineWidth = Math.min(3, Math.max(1.2, view.dx * 0.08));
  context.stroke();
}

// The warning outline has a light line inside it: a ring that no other cell has, in grey too. Both are laid on whole
// pixels: half-covered ones would mix with the weight's colour.
function paintOutlines(context, panel, view, look, ratio) {
  const whole = (length) => Math.round(length * ratio) / ratio;
  const width = whole(Math.min(4, Math.max(1.5, Math.min(view.dx, view.dy) * 0.1)));
  eachVisible(specialCells(panel.state)[VIOLATION], panel, view, (box) => {
    const [left, top] = [whole(box.left), whole(box.top)];
    const [across, down] = [whole(box.left + box.width) - left, whole(box.top + box.height) - top];
    const ring = (inset, colour) => {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(left + inset, top + inset, across - 2 * inset, down - 2 * inset);
    };
    if (Math.min(across, down) > 5 * width) ring(width * 1.5, "#ffffff");
    ring(width / 2, look.warning);
  });
}

// Where the spot of a cell begins along one side, how long it is, and its number from the edge of the view on. Cells too
// small to see share spots of 2 px that lie side by side, so that neighbours leave no gap between them.
function spot(start, cell, index, edge, first, whole) {
  if (cell >= SPOT) return [whole(start), whole(start + cell) - whole(start), index - Math.floor(first)];
  const number = Math.floor((start - edge) / SPOT);
  return [edge + SPOT * number, SPOT, number + 1];
}

// Each spot is drawn once, however many cells fall on it.
function paintSpots(context, panel, view, colour, code, ratio) {
  const whole = (length) => Math.round(length * ratio) / ratio; // no half-transparent edges
  const [left, top] = [whole(view.left), whole(view.top)];
  const across = Math.ceil(view.width / Math.max(view.dx, SPOT)) + 3;
  const drawn = new Uint8Array(across * (Math.ceil(view.height / Math.max(view.dy, SPOT)) + 3));
  context.fillStyle = colour;
  eachVisible(specialCells(panel.state)[code], panel, view, (box, row, column) => {
    const [x, width, right] = spot(box.left, view.dx, column, left, view.x0, whole);
    const [y, height, down] = spot(box.top, view.dy, row, top, view.y0, whole);
    const at = down * across + right;
    if (drawn[at]) return;
    drawn[at] = 1;
    context.fillRect(x, y, width, height);
  });
}

function paintStates(context, panel, view, look, ratio) {
  const cell = Math.min(view.dx, view.dy);
  if (cell >= HATCH_FROM) paintHatches(context, panel, view, look, ratio);
  if (cell >= GLYPH_FROM) paintCrosses(context, panel, view, look);
  else if (cell < SPOT) paintSpots(context, panel, view, look.nanCss, NAN, ratio);
  if (cell >= OUTLINE_FROM) paintOutlines(context, panel, view, look, ratio);
  else paintSpots(context, panel, view, look.warning, VIOLATION, ratio);
}

// How many cells of a raster share a device pixel down and across, each at least 1.
export function crowding(panelView, raster, ratio) {
  const view = viewOf(panelView, raster);
  return [view.dy, view.dx].map((length) => Math.max(1, 1 / (length * ratio)));
}

function drawBitmap(context, canvas, panel, view) {
  const whole = canvas.width === panel.columns && canvas.height === panel.rows;
  // Of a panel that is many times wider than its view only what is seen is drawn: canvases count in single precision.
  const { top, left, bottom, right } = whole ? visibleCells(view, panel) : { top: 0, left: 0, bottom: panel.rows - 1, right: panel.columns - 1 };
  const [across, down] = [right - left + 1, bottom - top + 1];
  const from = cellBox(view, top, left);
  const [width, height] = whole ? [across, down] : [canvas.width, canvas.height];
  context.drawImage(canvas, left, top, width, height, from.left, from.top, across * view.dx, down * view.dy);
}

// Paints one of a panel's rasters into the panel's view.
export function paintRaster(context, raster, panelView, look, ratio) {
  const view = viewOf(panelView, raster);
  const [across, down] = [raster.columns * view.dx, raster.rows * view.dy];
  const pixels = (cells, length) => Math.max(1, Math.min(cells, Math.round(length * ratio)));
  const canvas = bitmap(raster, pixels(raster.columns, across), pixels(raster.rows, down), look);
  context.save();
  context.beginPath();
  context.rect(view.left, view.top, view.width, view.height);
  context.clip();
  context.imageSmoothingEnabled = false;
  drawBitmap(context, canvas, raster, view);
  if (raster.state) paintStates(context, raster, view, look, ratio);
  context.restore();
}

// Sizes a canvas for the screen's density and returns its cleared context, in CSS pixels.
export function prepare(canvas, width, height, ratio) {
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) {
    Object.assign(canvas, { width: across, height: down });
    if (canvas.style) Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
