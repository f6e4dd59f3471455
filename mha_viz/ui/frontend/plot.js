// The plot component: Plotly draws axes, labels and colour bars; the cells are painted on a canvas under it.
// New data whose `figure` is the same as before only repaints cells: no Plotly code runs and the zoom stays.

import { keepCursor, listenToPointer, locate, showCursor } from "./cursor.js";
import { download } from "./download.js";
import { forgetRegion, refine, stopRefining } from "./finer.js";
import { listenToKeys } from "./keys.js";
import { arrange, plotlyFigure } from "./layout.js";
import { leave, listenToOthers } from "./link.js";
import { listenToMap } from "./minimap.js";
import { keepPainting, listenToPainting, stopPainting } from "./paint.js";
import { listenToPinch } from "./pinch.js";
import { barSignature, paintAll, paintCells, relabelBars, repaint } from "./picture.js";
import { readTheme } from "./theme.js";
import { decode } from "./wire.js";
import { arrive, listenToWheel, readView, zoom } from "./zoom.js";

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
  const parts = { cells: find("cells"), marks: find("marks"), gd: find("axes"), map: find("map"), tip: find("tip"), note: find("note") };
  const stop = new AbortController();
  const tools = wrap.parentElement.querySelector(".mha-tools");
  const instance = { wrap, tools, ...parts, status: find("status"), stop, views: null, cursor: null, panels: [] };
  instance.repaint = () => instance.wrap.isConnected && repaint(instance);
  instance.observer = new ResizeObserver(() => fit(instance));
  instance.observer.observe(wrap);
  for (const listen of [listenToPainting, listenToPinch, listenToPointer, listenToKeys, listenToMap]) listen(instance, stop.signal);
  listenToWheel(instance, locate, stop.signal);
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
  stopRefining(instance);
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
  const arrived = changed && arrive(instance);
  if (retinted || shape !== instance.shape) {
    if (shape !== instance.shape) forgetRegion(instance); // it may have other colours
    instance.shape = shape;
    draw(instance);
  } else if (instance.drawn) {
    if (!relabelBars(instance)) draw(instance);
    paintAll(instance);
    if (arrived) zoom(instance, instance.views);
  }
}

// Returns whether the message brought anything new: after a rerun that changed something else it does not.
function take(instance, data) {
  const { figure, frame, revision, panels } = decode(data);
  instance.data = data;
  if (revision === instance.revision) return false;
  keepArrays(instance.panels, panels);
  const size = JSON.stringify(panels.map(({ rows, columns }) => [rows, columns]));
  const resized = size !== instance.size;
  if (resized) instance.views = null; // a zoom into another shape would mean nothing
  if (resized || frame.finer !== instance.frame?.finer) forgetRegion(instance);
  Object.assign(instance, { figure, frame, revision, panels, size });
  keepCursor(instance);
  keepPainting(instance, resized);
  describe(instance);
  return true;
}

// Exact values that were fetched stay good for as long as the digest is the same; bitmaps are drawn over.
function keepArrays(before, panels) {
  const old = before.map(({ raster }) => raster);
  panels.forEach(({ raster }, i) => {
    if (!raster) return;
    raster.values ??= raster.digest && old.find((one) => one?.digest === raster.digest)?.values;
    raster.spare = old[i]?.bitmap;
  });
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
  gd.on("plotly_relayouting", () => {
    paintCells(instance);
    refine(instance);
  });
  gd.on("plotly_relayout", () => {
    if (!instance.panels.length) return;
    readView(instance);
    repaint(instance);
  });
  gd.on("plotly_doubleclick", () => zoom(instance, null));
}

function fit(instance) {
  if (instance.figure && Math.floor(instance.wrap.clientWidth) !== instance.width) draw(instance);
}
