// A panel's numbers are rasters of blocks: one of the whole panel, with `side` × `side` cells to a block (1 where nothing
// is pooled), and where a figure can be refined, one of the part that is looked at. All places count in cells.

import { cellBox } from "./place.js";

// The view of a raster's own rows and columns, as if its blocks were cells.
export function viewOf(view, { side, top, left }) {
  const own = (at, from) => (at + 0.5 - from) / side - 0.5;
  return { ...view, x0: own(view.x0, left), y0: own(view.y0, top), dx: view.dx * side, dy: view.dy * side };
}

// Whether a raster has a cell; a row or a column alone is looked for along its own side.
function holds({ side, top, left, rows, columns }, { query = top, key = left }) {
  return query >= top && key >= left && query < top + rows * side && key < left + columns * side;
}

// The rasters of a panel, the finest last; none while it is not computed yet.
export function rastersOf({ panels, region }, i) {
  const { raster } = panels[i];
  return raster ? [raster, region?.rasters[i]].filter(Boolean) : [];
}

export function rasterAt(instance, cell) {
  return rastersOf(instance, cell.panel).findLast((raster) => holds(raster, cell));
}

// A cell's place in the arrays of a raster.
export function indexIn({ side, top, left, columns }, { query, key }) {
  return Math.floor((query - top) / side) * columns + Math.floor((key - left) / side);
}

// The first cell of the block that a cell is shown in, and how many cells the block has a side.
export function blockOf(instance, cell) {
  const side = rasterAt(instance, cell)?.side ?? instance.panels[cell.panel].side;
  const first = (at) => (at === undefined ? undefined : at - (at % side)); // blocks start at multiples of their side
  return { ...cell, query: first(cell.query), key: first(cell.key), side };
}

// The rows and columns that a view shows, each from the first to after the last.
export function seen(view, { rows, columns }) {
  const [right, bottom] = [view.x0 + view.width / view.dx, view.y0 + view.height / view.dy];
  const [near, far] = [(at) => Math.max(0, Math.floor(at + 0.5 + 1e-6)), (at, most) => Math.min(most, Math.ceil(at + 0.5 - 1e-6))];
  return { top: near(view.y0), left: near(view.x0), bottom: far(bottom, rows), right: far(right, columns) };
}

export function covers({ side, top, left, rows, columns }, part) {
  const inside = part.top >= top && part.left >= left;
  return inside && part.bottom <= top + rows * side && part.right <= left + columns * side;
}

// The rasters of a panel that show in a view: a finer one that fills it hides the other.
export function shownIn(instance, i, view) {
  const all = rastersOf(instance, i);
  const part = seen(view, instance.panels[i]);
  return all.slice(Math.max(0, all.findLastIndex((raster) => covers(raster, part))));
}

// The box on the screen of the block that a cell is shown in.
export function blockBox(instance, view, cell) {
  const { query, key, side } = blockOf(instance, cell);
  return cellBox(view, query ?? 0, key ?? 0, side);
}
