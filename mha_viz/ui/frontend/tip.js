// The tooltip of a cell: its tokens, its weight, and what hides it.

import { axisWords, visible } from "./labels.js";
import { viewport } from "./place.js";
import { blockBox, blockOf, indexIn, rasterAt } from "./raster.js";

const WORDS = [
  "",
  "masked by attn_mask",
  "masked by key_padding_mask",
  "masked by attn_mask and key_padding_mask",
  "NaN: not a number",
  "violation",
];
const NAN = 4;
const VIOLATION = 5;
const IN_BLOCK = { [NAN]: "holds NaN: not a number", [VIOLATION]: "holds a violation" };

function number(value) {
  if (Math.abs(value) === Infinity) return value > 0 ? "∞" : "−∞";
  return String(Number(value.toPrecision(6)));
}

function weightText(raster, at) {
  if (raster.values) return number(raster.values[at]);
  if (!raster.missing) return "…";
  if (raster.scaled) return "not kept any more";
  return `≈ ${number(raster.zmin + (raster.cells[at] / 255) * (raster.zmax - raster.zmin))}`;
}

function named(index, token) {
  return token === undefined || token === String(index) ? `${index}` : `${index} “${visible(token)}”`;
}

// A row or column of cells by its number and token, or a row or column of blocks by those of its ends.
function span(index, side, count, token) {
  return side > 1 ? `${index} … ${Math.min(index + side, count) - 1}` : named(index, token);
}

// What there is to say about a cell of a mosaic of pictures, which stand `row_pitch` and `column_pitch` cells apart.
function ofPicture(mosaic, cell, line) {
  const layer = Math.floor(cell.query / mosaic.row_pitch);
  const head = mosaic.head_names[layer]?.[Math.floor(cell.key / mosaic.column_pitch)];
  return head ? [["layer", visible(mosaic.layer_names[layer])], ["", head], line] : [];
}

function stateWords(state, side, what, weight) {
  if (side > 1 && IN_BLOCK[state]) return IN_BLOCK[state];
  return state === VIOLATION ? `masked, yet ${what} ${weight}: a violation` : (WORDS[state] ?? "");
}

// What there is to say about a cell: pairs of a label and its text.
export function facts(instance, cell) {
  const panel = instance.panels[cell.panel];
  const words = panel.axes.map((axis, side) => axisWords(instance.figure, axis, side));
  const { query, key, side } = blockOf(instance, cell);
  const token = (index, i) => words[i].tokens[index] ?? instance.region?.token(i, index);
  const counts = [panel.rows, panel.columns];
  const found = [query, key].map((index, i) => [words[i].title, span(index, side, counts[i], token(index, i))]);
  const raster = rasterAt(instance, cell);
  if (!raster) return [...found, ["", "not computed yet"]];
  const what = `${side > 1 ? `${panel.pooling} ` : ""}${panel.value || instance.figure.valueTitle || "weight"}`;
  const at = indexIn(raster, cell);
  const weight = weightText(raster, at);
  if (instance.figure.mosaic) return ofPicture(instance.figure.mosaic, cell, [what, weight]);
  const state = raster.state ? raster.state[at] : 0;
  return [...found, [what, weight], ...(state ? [["", stateWords(state, side, what, weight)]] : [])];
}

export function write(tip, title, lines) {
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

export function position(instance, cell) {
  const { tip, wrap } = instance;
  const box = blockBox(instance, viewport(instance.gd, instance.panels[cell.panel]), cell);
  const point = instance.pointer ?? { x: box.left + box.width, y: box.top + box.height };
  const across = point.x + 14 + tip.offsetWidth > wrap.clientWidth ? point.x - 14 - tip.offsetWidth : point.x + 14;
  const down = point.y + 14 + tip.offsetHeight > wrap.clientHeight ? point.y - 14 - tip.offsetHeight : point.y + 14;
  const left = Math.max(0, Math.min(across, wrap.clientWidth - tip.offsetWidth));
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(Math.max(0, down))}px)`;
}
