// Where panels go that do not have the same axes, as queries × keys beside queries × dimensions: side by side in lines,
// each with its own labels, one cell equally high in all of them. They do not zoom: their axes have nothing in common.

import { axisWords, labels, xTicks } from "./labels.js";
import { FONT_SIZE, NARROW, STRIP, TITLE } from "./sizes.js";

const CELL = 26; // px that a cell may be high
const HEIGHT = [48, 264]; // px that a panel is high at least and at most
const WIDTH = [180, 290]; // as wide as its cells are high, within these
const ENOUGH = 130; // px under which fewer panels go into a line
const GAP = 22;
const BAR = 52; // px for a panel's colour bar and its texts
const AXIS_TITLE = 22; // px beside the labels for the name of the rows
const UNDER = 18; // px below them for the name of the columns

function between([low, high], value) {
  return Math.round(Math.max(low, Math.min(value, high)));
}

function named(figure, panel, narrow) {
  const [row, column] = panel.axes.map((axis, side) => axisWords(figure, axis, side));
  const query = labels(row.tokens.slice(0, panel.rows), panel.rows, narrow ? 56 : 84);
  const key = labels(column.tokens.slice(0, panel.columns), panel.columns, narrow ? 62 : 84);
  const beside = { before: query.widest + 8 + AXIS_TITLE, after: panel.bar ? BAR : 0 };
  return { panel, query, key, ...beside, queryTitle: row.title, keyTitle: column.title };
}

function sized(part, cell, most) {
  const { rows, columns } = part.panel;
  const width = Math.min(Math.max(60, most), between(WIDTH, columns * cell));
  const upright = xTicks(part.key, width / columns).tickangle !== 0;
  const bottom = (upright ? part.key.widest : FONT_SIZE) + 12 + UNDER;
  return { ...part, width, height: between(HEIGHT, rows * cell), bottom };
}

// What the panels of a line need beside their cells.
function taken(line) {
  return line.reduce((sum, { before, after }) => sum + before + after + GAP, -GAP);
}

// How wide a panel may be where this many share a line.
function share(parts, columns, width) {
  const count = Math.ceil(parts.length / columns);
  const lines = Array.from({ length: count }, (_, i) => parts.slice(i * columns, (i + 1) * columns));
  return Math.floor(Math.min(...lines.map((line) => (width - taken(line)) / line.length)));
}

// As many as the figure asks for, but four in two lines, so that what belongs together stands together; fewer where
// there is no room.
function perLine(parts, width, most) {
  const wanted = parts.length === 4 ? 2 : Math.min(most, parts.length);
  for (let columns = wanted; columns > 1; columns -= 1) if (share(parts, columns, width) >= ENOUGH) return columns;
  return 1;
}

// A panel whose rows are those of its neighbour does without labels of its own.
function placed(line, width) {
  let x = 0;
  return line.map((part, i) => {
    const neighbour = line[i - 1];
    const shares = neighbour?.queryTitle === part.queryTitle && neighbour.height === part.height;
    const left = x + (shares ? 0 : part.before);
    const titleLeft = x + 1;
    x = left + part.width + part.after + GAP;
    return { ...part, left, titleLeft, first: !shares, last: true, room: Math.min(x, width) - left };
  });
}

export function arrangeMixed(figure, width) {
  const narrow = width < NARROW;
  const cell = Math.min(CELL, HEIGHT[1] / Math.max(...figure.panels.map((panel) => panel.rows)));
  const parts = figure.panels.map((panel) => named(figure, panel, narrow));
  const columns = perLine(parts, width, figure.columns);
  const most = share(parts, columns, width);
  const boxes = [];
  let top = STRIP;
  for (let from = 0; from < parts.length; from += columns) {
    const line = placed(parts.slice(from, from + columns).map((part) => sized(part, cell, most)), width);
    boxes.push(...line.map((box) => ({ ...box, top: top + TITLE })));
    top += TITLE + Math.max(...line.map((box) => box.height + box.bottom)) + 8;
  }
  const [{ query, key }] = boxes;
  return { width, height: top, boxes, query, key, bars: Infinity, narrow, mixed: true };
}
