// The tooltip of a cell: its tokens, its weight, and what hides it.

import { cellBox, viewport } from "./cells.js";
import { axisWords, visible } from "./labels.js";

const WORDS = [
  "",
  "masked by attn_mask",
  "masked by key_padding_mask",
  "masked by attn_mask and key_padding_mask",
  "NaN: not a number",
  "violation",
];
const VIOLATION = 5;

function number(value) {
  if (Math.abs(value) === Infinity) return value > 0 ? "∞" : "−∞";
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

// What there is to say about a cell of a mosaic of pictures, which stand `row_pitch` and `column_pitch` cells apart.
function ofPicture(mosaic, cell, line) {
  const layer = Math.floor(cell.query / mosaic.row_pitch);
  const head = mosaic.head_names[layer]?.[Math.floor(cell.key / mosaic.column_pitch)];
  return head ? [["layer", visible(mosaic.layer_names[layer])], ["", head], line] : [];
}

// What there is to say about a cell: pairs of a label and its text.
export function facts(instance, cell) {
  const panel = instance.panels[cell.panel];
  const [row, column] = panel.axes.map((axis, side) => axisWords(instance.figure, axis, side));
  const what = panel.value || instance.figure.valueTitle || "weight";
  const at = cell.query * panel.columns + cell.key;
  const state = panel.state ? panel.state[at] : 0;
  const weight = weightText(instance, panel, at);
  if (instance.figure.mosaic) return ofPicture(instance.figure.mosaic, cell, [what, weight]);
  const found = [
    [row.title, named(cell.query, row.tokens)],
    [column.title, named(cell.key, column.tokens)],
    [what, weight],
  ];
  if (state === VIOLATION) found.push(["", `masked, yet ${what} ${weight}: a violation`]);
  else if (state) found.push(["", WORDS[state] ?? ""]);
  return found;
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
  const box = cellBox(viewport(instance.gd, instance.panels[cell.panel]), cell.query, cell.key);
  const point = instance.pointer ?? { x: box.left + box.width, y: box.top + box.height };
  const across = point.x + 14 + tip.offsetWidth > wrap.clientWidth ? point.x - 14 - tip.offsetWidth : point.x + 14;
  const down = point.y + 14 + tip.offsetHeight > wrap.clientHeight ? point.y - 14 - tip.offsetHeight : point.y + 14;
  const left = Math.max(0, Math.min(across, wrap.clientWidth - tip.offsetWidth));
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(Math.max(0, down))}px)`;
}
