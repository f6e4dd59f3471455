// The plot component: Plotly draws axes, labels and colour bars; the cells are painted on a canvas under it.
// New data whose `figure` is the same as before only repaints cells: no Plotly code runs and the zoom stays.

import { crowding, paintPanel, prepare, viewport } from "./cells.js";
import { keepCursor, listenToPointer, showCursor } from "./cursor.js";
import { download } from "./download.js";
import { listenToKeys } from "./keys.js";
import { xTicks, yTicks } from "./labels.js";
import { arrange, barTicks, plotlyFigure } from "./layout.js";
import { leave, listenToOthers } from "./link.js";
import { drawMarks } from "./marks.js";
import { keepPainting, listenToPainting, stopPainting } from "./paint.js";
import { readTheme } from "./theme.js";
import { decode } from "./wire.js";

const HELP =
  "Arrow keys move between cells, [ and ] between panels, Enter chooses a cell, plus and minus zoom, 0 resets the zoom.";
const PAINT_HELP =
  "Space paints the cell, or the rectangle that Shift with arrow keys spans; R paints its rows, C its columns; " +
  "Control Z undoes, Control Y redoes, Escape cancels.";

const instances = new WeakMap(); // by element: Streamlit calls render() again and again for one mounted component
let plotly;

export function render(component) {
  const wrap = component.parentElement.querySelector(".mha-plot");
  if (!wrap || !component.data) return undefined;
  const instance = instances.get(wrap) ?? create(wrap);
  instance.trigger = component.setTriggerValue;
  update(instance, component.data);
  // Streamlit may run the cleanup of an earlier call while the element lives on.
  return () => !wrap.isConnected && dispose(instance);
}

function create(wrap) {
  const find = (name) => wrap.querySelector(`.mha-${name}`);
  const parts = { cells: find("cells"), marks: find("marks"), gd: find("axes"), tip: find("tip"), note: find("note") };
  const stop = new AbortController();
  const tools = wrap.parentElement.querySelector(".mha-tools");
  const instance = { wrap, tools, ...parts, status: find("status"), stop, views: null, cursor: null, panels: [] };
  instance.zoom = (views) => zoom(instance, views);
  instance.observer = new ResizeObserver(() => fit(instance));
  instance.observer.observe(wrap);
  for (const listen of [listenToPainting, listenToPointer, listenToKeys]) listen(instance, stop.signal);
  listenToOthers(instance, showCursor, stop.signal);
  instances.set(wrap, instance);
  return instance;
}

function dispose(instance) {
  instance.observer.disconnect();
  instance.stop.abort();
  clearTimeout(instance.dwell);
  leave(instance);
  stopPainting(instance);
  if (instance.gd._fullLayout) window.Plotly.purge(instance.gd);
  instances.delete(instance.wrap);
}

function update(instance, data) {
  const theme = readTheme(instance.wrap, instance.theme);
  const retinted = theme !== instance.theme;
  instance.theme = theme;
  const changed = data !== instance.data && take(instance, data);
  if (!changed && !retinted) return;
  const shape = JSON.stringify(instance.figure);
  if (retinted || shape !== instance.shape) {
    instance.shape = shape;
    draw(instance);
  } else if (instance.drawn) {
    paintAll(instance);
  }
}

// Returns whether the message brought anything new: after a rerun that changed something else it does not.
function take(instance, data) {
  const { figure, frame, revision, panels } = decode(data);
  instance.data = data;
  if (revision === instance.revision) return false;
  // Exact values that were fetched stay good for as long as the digest is the same.
  for (const panel of panels) {
    panel.values ??= panel.digest && instance.panels.find((old) => old.digest === panel.digest)?.values;
  }
  panels.forEach((panel, i) => (panel.spare = instance.panels[i]?.bitmap));
  const size = JSON.stringify(panels.map(({ rows, columns }) => [rows, columns]));
  const resized = size !== instance.size;
  if (resized) instance.views = null; // a zoom into another shape would mean nothing
  Object.assign(instance, { figure, frame, revision, panels, size });
  keepCursor(instance);
  keepPainting(instance, resized);
  describe(instance);
  return true;
}

function describe({ wrap, frame, panels }) {
  wrap.parentElement.querySelector(".mha-heading").textContent = frame.heading;
  wrap.parentElement.querySelector(".mha-lines").replaceChildren(...frame.lines.map(paragraph));
  wrap.setAttribute("role", panels.length ? "application" : "figure");
  wrap.setAttribute("aria-label", frame.alt);
  if (panels.length) wrap.setAttribute("aria-description", frame.paint ? `${HELP} ${PAINT_HELP}` : HELP);
  wrap.tabIndex = panels.length ? 0 : -1;
}

function paragraph(text) {
  const line = document.createElement("p");
  line.textContent = text;
  return line;
}

// Figures are drawn one after the other; what changes meanwhile is drawn once, when its turn comes.
function draw(instance) {
  instance.dirty = instance.drawing !== undefined;
  instance.drawing ??= drawNow(instance).finally(() => {
    instance.drawing = undefined;
    if (instance.dirty && instance.wrap.isConnected) draw(instance);
  });
}

async function drawNow(instance) {
  try {
    const Plotly = await loadPlotly(instance.figure.plotly);
    await react(instance, Plotly);
  } catch (error) {
    Object.assign(instance.note, { hidden: false, textContent: "The plot could not be drawn. Reload the page." });
    throw error;
  }
}

async function react(instance, Plotly) {
  const width = Math.floor(instance.wrap.clientWidth);
  if (!width) return; // in a hidden tab: the observer calls when it is shown
  const { figure, panels, theme } = instance;
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const place = figure.arranged ? arrange(figure, width, theme.font) : null;
  const { data, layout } = plotlyFigure(figure, panels, place, instance.views, theme, width, touch);
  Object.assign(instance, { place, width, barText: barSignature(panels) });
  instance.gd.style.height = `${layout.height}px`;
  await Plotly.react(instance.gd, data, layout, config(instance, touch));
  if (!instance.drawn) follow(instance);
  instance.drawn = true;
  paintAll(instance);
}

function loadPlotly(file) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  plotly ??= new Promise((loaded, failed) => {
    const script = document.createElement("script");
    script.src = new URL(`../${file}`, import.meta.url).href;
    script.addEventListener("load", () => loaded(window.Plotly));
    script.addEventListener("error", () => {
      plotly = undefined;
      failed(new Error(`${script.src} could not be loaded`));
    });
    document.head.append(script);
  });
  return plotly;
}

function button(name, title, icon, click) {
  return { name, title, icon: window.Plotly.Icons[icon], click };
}

function config(instance, touch) {
  const drags = touch ? ["zoomIn2d", "zoomOut2d"] : ["zoom2d", "pan2d"];
  const own = [
    button("reset", "Reset the zoom", "home", () => zoom(instance, null)),
    button("png", "Download as PNG", "camera", () => download(instance, "png")),
    button("svg", "Download as SVG", "disk", () => download(instance, "svg")),
  ];
  const zooms = instance.panels.length && !instance.place?.mixed;
  const buttons = zooms ? [...drags, ...own] : own.slice(1);
  const quiet = { displaylogo: false, scrollZoom: false, doubleClick: false, showTips: false };
  return { ...quiet, displayModeBar: instance.panels.length ? true : "hover", modeBarButtons: [buttons] };
}

function follow(instance) {
  const { gd } = instance;
  gd.on("plotly_relayouting", () => paintCells(instance));
  gd.on("plotly_relayout", () => relayouted(instance));
  gd.on("plotly_doubleclick", () => zoom(instance, null));
}

// After a zoom: remember it for the next figure, and fit the number of labels to it.
function relayouted(instance) {
  const [panel] = instance.panels;
  const view = panel && viewport(instance.gd, panel);
  if (!view) return;
  const range = (letter) => [...instance.gd._fullLayout[`${letter}axis${panel[`${letter}axis`].slice(1)}`].range];
  const [x, y] = [range("x"), range("y")];
  const whole = x[1] - x[0] > panel.columns - 1e-6 && y[0] - y[1] > panel.rows - 1e-6;
  instance.views = whole ? null : { x, y };
  paintCells(instance);
  showCursor(instance);
  if (instance.place && !instance.place.mixed) fitTicks(instance, view);
}

function fitTicks(instance, view) {
  const { place, panels, gd } = instance;
  const across = xTicks(place.key, view.dx);
  const down = yTicks(place.query, view.dy);
  const full = gd._fullLayout[`xaxis${panels[0].xaxis.slice(1)}`];
  const tall = gd._fullLayout[`yaxis${panels[0].yaxis.slice(1)}`];
  if (full.tickvals.length === across.tickvals.length && tall.tickvals.length === down.tickvals.length) return;
  // Upright labels have their room already; lying ones would need more than the figure keeps for them.
  const changes = {};
  for (const { xaxis, yaxis } of panels) {
    changes[`xaxis${xaxis.slice(1)}.tickvals`] = across.tickvals;
    changes[`xaxis${xaxis.slice(1)}.ticktext`] = across.ticktext;
    changes[`xaxis${xaxis.slice(1)}.tickangle`] = across.tickangle;
    changes[`yaxis${yaxis.slice(1)}.tickvals`] = down.tickvals;
    changes[`yaxis${yaxis.slice(1)}.ticktext`] = down.ticktext;
  }
  window.Plotly.relayout(gd, changes);
}

function zoom(instance, views) {
  if (!instance.drawn || instance.place?.mixed) return;
  const changes = {};
  for (const { xaxis, yaxis, rows, columns } of instance.panels) {
    changes[`xaxis${xaxis.slice(1)}.range`] = views?.x ?? [-0.5, columns - 0.5];
    changes[`yaxis${yaxis.slice(1)}.range`] = views?.y ?? [rows - 0.5, -0.5];
  }
  if (instance.panels.length) window.Plotly.relayout(instance.gd, changes);
}

function fit(instance) {
  if (instance.figure && Math.floor(instance.wrap.clientWidth) !== instance.width) draw(instance);
}

function barSignature(panels) {
  return panels.map((panel) => (panel.bar ? `${panel.zmin}:${panel.zmax}` : "")).join();
}

function paintAll(instance) {
  relabelBars(instance);
  paintCells(instance);
  drawMarks(instance);
  if (instance.cursor) showCursor(instance);
  instance.wrap.dataset.painted = instance.revision;
}

function relabelBars(instance) {
  const text = barSignature(instance.panels);
  if (text === instance.barText) return;
  instance.barText = text;
  const { gd, panels, figure } = instance;
  const bars = [...gd.querySelectorAll(".infolayer .colorbar")];
  panels.forEach((panel, i) => {
    if (!panel.bar) return;
    const { ticktext } = barTicks(panel);
    const texts = bars.shift()?.querySelectorAll(".cbaxis text") ?? [];
    if (texts.length !== ticktext.length) {
      draw(instance);
      return;
    }
    // Plotly would take 20 ms over five texts whose places stay. Its own copies are for its next redraw and for exports.
    texts.forEach((node, k) => (node.textContent = ticktext[k]));
    for (const traces of [gd.data, gd._fullData]) traces[figure.others.length + i].marker.colorbar.ticktext = ticktext;
  });
}

function paintCells(instance) {
  const { gd, cells, panels, theme } = instance;
  if (!gd._fullLayout) return;
  instance.ratio = window.devicePixelRatio || 1;
  instance.extent = [gd.clientWidth, gd.clientHeight];
  const context = prepare(cells, ...instance.extent, instance.ratio);
  let crowd = 1;
  for (const panel of panels) {
    const view = viewport(gd, panel);
    if (!view) continue;
    paintPanel(context, panel, view, theme.look, instance.ratio);
    crowd = Math.max(crowd, crowding(view, instance.ratio));
  }
  instance.note.hidden = crowd < 1.01;
  const cellsEach = Number(crowd.toPrecision(2));
  instance.note.textContent = `Each pixel shows the largest of ${cellsEach} × ${cellsEach} weights; zoom in to see all.`;
}
