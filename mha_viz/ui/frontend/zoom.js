// Zooming: by a box, Control or Command and the wheel, two fingers, the keyboard, the map, or from Python. A view is the
// ranges of the axes, { x: [first, last], y: [last, first] } in cells, and null where all is shown. All panels have the
// same.

import { labelsOf, xTicks, yTicks } from "./labels.js";
import { viewport } from "./place.js";

const LEAST = 4; // cells that the wheel and two fingers leave in view
const NOTCH = 40; // of a wheel's units: what one event counts for at most
const AROUND = 64; // cells that are in view around a cell that is gone to

export function zoom(instance, view) {
  if (!instance.drawn || instance.place?.mixed || !instance.panels.length) return;
  const changes = instance.place ? tickChanges(instance, view) : {};
  for (const panel of instance.panels) {
    const { x, y } = view ?? wholeOf(panel);
    changes[`xaxis${panel.xaxis.slice(1)}.range`] = x;
    changes[`yaxis${panel.yaxis.slice(1)}.range`] = y;
  }
  window.Plotly.relayout(instance.gd, changes);
}

// Zooms with the next frame: a wheel or a finger says more in between than can be drawn.
export function zoomSoon(instance, view) {
  instance.aim = { view };
  instance.aiming ??= requestAnimationFrame(() => {
    const { aim } = instance;
    Object.assign(instance, { aim: undefined, aiming: undefined });
    if (instance.wrap.isConnected && instance.gd._fullLayout) zoom(instance, aim.view);
  });
}

function wholeOf({ rows, columns }) {
  return { x: [-0.5, columns - 0.5], y: [rows - 0.5, -0.5] };
}

// The view that there is, or that there will be with the next frame.
export function viewNow({ aim, views, panels }) {
  return (aim ? aim.view : views) ?? wholeOf(panels[0]);
}

// A range of an axis, moved and cut so that it lies within its cells.
function within(start, size, cells) {
  const width = Math.min(size, cells);
  const from = Math.max(-0.5, Math.min(start, cells - 0.5 - width));
  return [from, from + width];
}

function asView([left, right], [top, bottom], { rows, columns }) {
  const whole = right - left > columns - 1e-6 && bottom - top > rows - 1e-6;
  return whole ? null : { x: [left, right], y: [bottom, top] };
}

// A view with a cell in its middle, of so many rows and columns.
export function centred(panel, { query, key }, down, across) {
  return asView(within(key - across / 2, across, panel.columns), within(query - down / 2, down, panel.rows), panel);
}

export function viewAround(panel, [query, key]) {
  return centred(panel, { query, key }, AROUND, AROUND);
}

// The view that is larger or smaller by a factor with the cell in its middle.
export function zoomed(instance, cell, factor) {
  const { x, y } = viewNow(instance);
  const [across, down] = [(x[1] - x[0]) * factor, (y[0] - y[1]) * factor];
  if (Math.min(across, down) < 1) return instance.views;
  return centred(instance.panels[cell.panel], cell, down, across);
}

// The view that is larger or smaller by a factor, in which what is at one place of the screen comes to another.
export function zoomedAt(instance, panel, from, to, factor) {
  const { x, y } = viewNow(instance);
  const frame = instance.gd.getBoundingClientRect();
  const box = viewport(instance.gd, panel);
  const share = (at) => [(at.clientX - frame.left - box.left) / box.width, (at.clientY - frame.top - box.top) / box.height];
  const [[left, top], [newLeft, newTop]] = [share(from), share(to)];
  const [across, down] = [x[1] - x[0], y[0] - y[1]];
  if (factor < 1 && Math.min(across, down) * factor < LEAST) return { x, y };
  const range = (start, size, before, after, cells) => within(start + size * (before - after * factor), size * factor, cells);
  return asView(range(x[0], across, left, newLeft, panel.columns), range(y[1], down, top, newTop, panel.rows), panel);
}

// Control or Command with the wheel, which is also what pinching a trackpad sends; the wheel alone scrolls the page.
export function listenToWheel(instance, locate, signal) {
  const turn = (event) => {
    if (!(event.ctrlKey || event.metaKey) || !instance.drawn || instance.place?.mixed) return;
    const cell = locate(instance, event.clientX, event.clientY);
    if (!cell) return;
    event.preventDefault();
    const units = event.deltaY * (event.deltaMode ? 16 : 1); // lines or pixels
    const factor = Math.exp(Math.max(-NOTCH, Math.min(NOTCH, units)) / 100);
    zoomSoon(instance, zoomedAt(instance, instance.panels[cell.panel], event, event, factor));
  };
  instance.wrap.addEventListener("wheel", turn, { signal, passive: false });
}

// Whether the figure is to go to another cell than before; then its view is set for the next drawing.
export function arrive(instance) {
  const { goto } = instance.frame;
  const asked = JSON.stringify(goto ?? null);
  if (asked === instance.gone) return false;
  instance.gone = asked;
  if (goto && instance.panels.length) instance.views = viewAround(instance.panels[0], goto);
  return Boolean(goto);
}

// Reads what Plotly shows after a zoom of its own, and fits the number of labels to it.
export function readView(instance) {
  const [panel] = instance.panels;
  const range = (letter) => [...instance.gd._fullLayout[`${letter}axis${panel[`${letter}axis`].slice(1)}`].range];
  const [x, y] = [range("x"), range("y")];
  instance.views = asView(x, [y[1], y[0]], panel);
  fitTicks(instance);
}

// The labels of an axis: those of the cells in view where finer cells have brought them.
function labelsFor({ place, region }, side) {
  const known = [place.query, place.key][side];
  const names = region?.names[side];
  return names ? labelsOf(names, side ? region.left : region.top, known) : known;
}

function tickChanges(instance, view) {
  const [panel] = instance.panels;
  const { x, y } = view ?? wholeOf(panel);
  const box = viewport(instance.gd, panel);
  const across = xTicks(labelsFor(instance, 1), box.width / (x[1] - x[0]), x);
  const down = yTicks(labelsFor(instance, 0), box.height / (y[0] - y[1]), [y[1], y[0]]);
  const changes = {};
  for (const { xaxis, yaxis } of instance.panels) {
    changes[`xaxis${xaxis.slice(1)}.tickvals`] = across.tickvals;
    changes[`xaxis${xaxis.slice(1)}.ticktext`] = across.ticktext;
    changes[`xaxis${xaxis.slice(1)}.tickangle`] = across.tickangle;
    changes[`yaxis${yaxis.slice(1)}.tickvals`] = down.tickvals;
    changes[`yaxis${yaxis.slice(1)}.ticktext`] = down.ticktext;
  }
  return changes;
}

// Upright labels have their room already; lying ones would need more than the figure keeps for them.
export function fitTicks(instance) {
  if (!instance.place || instance.place.mixed) return;
  const changes = tickChanges(instance, instance.views);
  const [{ xaxis, yaxis }] = instance.panels;
  const full = instance.gd._fullLayout;
  const shown = { ...full[`xaxis${xaxis.slice(1)}`], down: full[`yaxis${yaxis.slice(1)}`] };
  const same = (axis, name) => ["tickvals", "ticktext"].every((what) => `${axis[what]}` === `${changes[`${name}.${what}`]}`);
  if (same(shown, `xaxis${xaxis.slice(1)}`) && same(shown.down, `yaxis${yaxis.slice(1)}`)) return;
  window.Plotly.relayout(instance.gd, changes);
}
