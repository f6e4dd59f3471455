// What lies over the cells: the chosen cell, the cross of the cursor, and strokes that are not answered yet.

import { hatch, prepare } from "./cells.js";
import { placed, pointed } from "./link.js";
import { cellBox, viewport } from "./place.js";
import { blockBox } from "./raster.js";

const HATCH_FROM = 4; // px: smaller cells are plain, as they are without a stroke

// Draws twice, wide and faint, then thin: visible on dark and on light cells.
function outline(context, look, path) {
  context.strokeStyle = look.halo;
  context.lineWidth = 3;
  context.stroke(path);
  context.strokeStyle = look.line;
  context.lineWidth = 1;
  context.stroke(path);
}

// Outlines the row, the column, and the cell where they meet; a panel may have only one of them.
function markCross(context, view, { query, key }, box, look) {
  const path = new Path2D();
  if (key !== undefined) path.rect(box.left, view.top, box.width, view.height);
  if (query !== undefined) path.rect(view.left, box.top, view.width, box.height);
  context.globalAlpha = 0.55;
  outline(context, look, path);
  context.globalAlpha = 1;
  if (query === undefined || key === undefined) return;
  const own = new Path2D();
  own.rect(box.left - 1, box.top - 1, box.width + 2, box.height + 2);
  outline(context, look, own);
}

function markSelected(context, view, [, query, key], look) {
  const box = cellBox(view, query, key);
  const width = Math.max(box.width, 6);
  const height = Math.max(box.height, 6);
  const path = new Path2D();
  path.rect(box.left + (box.width - width) / 2 - 1, box.top + (box.height - height) / 2 - 1, width + 2, height + 2);
  frameOf(context, look, path);
}

function frameOf(context, look, path) {
  context.strokeStyle = look.halo;
  context.lineWidth = 5;
  context.stroke(path);
  context.strokeStyle = look.line;
  context.lineWidth = 2.5;
  context.stroke(path);
}

// The chosen cell in a panel that may have only its row or its column.
function markChosen(context, view, { query, key }, look) {
  if (query !== undefined && key !== undefined) {
    markSelected(context, view, [0, query, key], look);
    return;
  }
  const box = cellBox(view, query ?? 0, key ?? 0);
  const path = new Path2D();
  if (query !== undefined) path.rect(view.left, box.top, view.width, box.height);
  if (key !== undefined) path.rect(box.left, view.top, box.width, view.height);
  frameOf(context, look, path);
}

function pathOf(runs, view) {
  const path = new Path2D();
  for (const [query, first, last] of runs) {
    const box = cellBox(view, query, first);
    path.rect(box.left, box.top, box.width * (last - first + 1), box.height);
  }
  return path;
}

// A stroke before the server's answer: masked cells look masked, allowed ones are blank, for nobody knows their weight.
function markStroke(context, view, { runs, value }, look, ratio) {
  const path = pathOf(runs, view);
  for (const [colour, width] of [[look.halo, 6], [look.line, 3]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
  }
  // Filled last: of the lines only those around the whole stroke remain.
  context.fillStyle = value ? look.blank : `rgb(${look.masked})`;
  context.fill(path);
  if (value || Math.min(view.dx, view.dy) < HATCH_FROM) return;
  context.fillStyle = hatch(context, look, ratio);
  context.fill(path);
}

// The cells between where Shift was pressed and the cursor, which the next key paints.
function markRange(context, view, anchor, cursor, look) {
  const [one, other] = [cellBox(view, anchor.query, anchor.key), cellBox(view, cursor.query, cursor.key)];
  const [left, top] = [Math.min(one.left, other.left), Math.min(one.top, other.top)];
  const path = new Path2D();
  path.rect(left, top, Math.max(one.left, other.left) + one.width - left, Math.max(one.top, other.top) + one.height - top);
  context.save();
  context.strokeStyle = look.halo;
  context.lineWidth = 4;
  context.stroke(path);
  context.setLineDash([6, 4]);
  context.strokeStyle = look.line;
  context.lineWidth = 2;
  context.stroke(path);
  context.restore();
}

function strokesOf({ pending, stroke }, panel) {
  return [...pending.map((sent) => sent.stroke), stroke].filter((found) => found?.place === panel);
}

export function drawMarks(instance) {
  const { gd, marks, cursor, linked, panels, frame, theme, painting } = instance;
  const size = instance.extent; // as it was painted: asking the page would make it lay itself out in each figure
  const needed = Boolean(cursor || linked || frame.selected || frame.marked || frame.goto || painting.stroke || painting.pending.length);
  if (!size || (!needed && instance.blank === size.join())) return; // clearing a large canvas takes milliseconds
  instance.blank = needed ? "" : size.join();
  const context = prepare(marks, ...size, instance.ratio);
  if (!needed) return;
  panels.forEach((panel, i) => {
    const view = viewport(gd, panel);
    if (!view) return;
    context.save();
    context.beginPath();
    context.rect(view.left - 3, view.top - 3, view.width + 6, view.height + 6);
    context.clip();
    for (const each of strokesOf(painting, i)) markStroke(context, view, each, theme.look, instance.ratio);
    if (painting.anchor?.panel === i && cursor) markRange(context, view, painting.anchor, cursor, theme.look);
    if (frame.selected?.[0] === i) markSelected(context, view, frame.selected, theme.look);
    if (frame.marked) markChosen(context, view, placed(frame.marked, panel), theme.look);
    if (frame.goto) markChosen(context, view, placed({ query: frame.goto[0], key: frame.goto[1] }, panel), theme.look);
    if (cursor || linked) {
      const cell = pointed(instance, i);
      markCross(context, view, cell, blockBox(instance, view, { ...cell, panel: i }), theme.look);
    }
    context.restore();
  });
}
