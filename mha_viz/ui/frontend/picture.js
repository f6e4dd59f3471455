// Paints what one message changes where the figure stays: cells, marks, the texts of colour bars, and the line under it.

import { crowding, paintRaster, prepare } from "./cells.js";
import { pointAgain, showCursor } from "./cursor.js";
import { cellWords, refine } from "./finer.js";
import { barTicks } from "./layout.js";
import { drawMarks } from "./marks.js";
import { drawMap } from "./minimap.js";
import { viewport } from "./place.js";
import { shownIn } from "./raster.js";
import { fitTicks } from "./zoom.js";

// After new data.
export function paintAll(instance) {
  refine(instance);
  paintCells(instance);
  drawMarks(instance);
  drawMap(instance);
  if (instance.cursor) showCursor(instance);
  instance.wrap.dataset.painted = instance.revision;
}

// After a zoom, or when finer cells have come.
export function repaint(instance) {
  refine(instance);
  paintCells(instance);
  fitTicks(instance);
  pointAgain(instance);
  drawMarks(instance);
  drawMap(instance);
}

export function paintCells(instance) {
  const { gd, cells, panels, theme, note } = instance;
  if (!gd._fullLayout) return;
  instance.ratio = window.devicePixelRatio || 1;
  instance.extent = [gd.clientWidth, gd.clientHeight];
  const context = prepare(cells, ...instance.extent, instance.ratio);
  let crowd = [1, 1];
  for (const [i, panel] of panels.entries()) {
    const view = viewport(gd, panel);
    for (const raster of view ? shownIn(instance, i, view) : []) {
      paintRaster(context, raster, view, theme.look, instance.ratio);
      const found = crowding(view, raster, instance.ratio);
      crowd = crowd.map((most, axis) => Math.max(most, found[axis]));
    }
  }
  const words = panels.length ? cellWords(instance, crowd) : "";
  note.hidden = !words;
  note.textContent = words;
}

export function barSignature(panels) {
  return panels.map((panel) => (panel.bar ? `${panel.zmin}:${panel.zmax}` : "")).join();
}

// Writes the numbers beside colour bars; returns false where Plotly has to draw them, because there are more or fewer.
export function relabelBars(instance) {
  const text = barSignature(instance.panels);
  if (text === instance.barText) return true;
  instance.barText = text;
  const { gd, panels, figure } = instance;
  const bars = [...gd.querySelectorAll(".infolayer .colorbar")];
  return panels.every((panel, i) => {
    if (!panel.bar) return true;
    const { ticktext } = barTicks(panel);
    const texts = bars.shift()?.querySelectorAll(".cbaxis text") ?? [];
    if (texts.length !== ticktext.length) return false;
    // Plotly would take 20 ms over five texts whose places stay. Its own copies are for its next redraw and for exports.
    texts.forEach((node, k) => (node.textContent = ticktext[k]));
    for (const traces of [gd.data, gd._fullData]) traces[figure.others.length + i].marker.colorbar.ticktext = ticktext;
    return true;
  });
}
