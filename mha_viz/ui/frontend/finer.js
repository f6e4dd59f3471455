// Finer cells of a figure whose panels are blocks: when it is zoomed, the part in view is fetched in smaller blocks, or in
// single cells where these are few enough, and painted over the rest.

import { viewport } from "./place.js";
import { covers, seen, shownIn } from "./raster.js";
import { decodeRegion } from "./wire.js";

const MOST = 518; // blocks that the part in view may have along each side: half of 1,024, with room for cut ones
const MARGIN = 60; // blocks fetched around it, so that a small move needs nothing new; the server gives 640 in all
const PAUSE = 80; // ms for which a view must stay before its cells are fetched
const RETRY = 2000; // ms before cells that the server had dropped are asked for again
const FAILED = "The finer cells could not be loaded. Zoom again to ask once more.";

// After a change of the view or of the data: fetches what is missing, or goes back to the figure's own blocks.
export function refine(instance) {
  if (!instance.gd._fullLayout || !instance.panels.length) return;
  const wanted = instance.frame.finer ? wantedIn(instance) : null;
  const { region, loading } = instance;
  if (!wanted) {
    stopRefining(instance);
    instance.region = null;
  } else if (region && region.side <= wanted.side && covers(region, wanted.part)) {
    stopRefining(instance);
  } else if (!(loading && loading.side === wanted.side && includes(loading.asked, wanted.part))) {
    stopRefining(instance);
    begin(instance, wanted);
  }
}

// The part in view and the blocks that it is to be shown in; null where the figure's own are as fine, or show it all.
function wantedIn({ gd, panels }) {
  const [panel] = panels;
  const part = seen(viewport(gd, panel), panel);
  const side = Math.ceil(Math.max(part.bottom - part.top, part.right - part.left) / MOST);
  const whole = part.bottom - part.top === panel.rows && part.right - part.left === panel.columns;
  return side < panel.side && !whole ? { part, side, panel } : null;
}

function includes(asked, part) {
  return covers({ ...asked, side: 1, rows: asked.bottom - asked.top, columns: asked.right - asked.left }, part);
}

function begin(instance, { part, side, panel }) {
  const near = (at) => Math.max(0, Math.floor(at / side) - MARGIN) * side;
  const far = (at, most) => Math.min(most, (Math.ceil(at / side) + MARGIN) * side);
  const asked = { top: near(part.top), left: near(part.left), bottom: far(part.bottom, panel.rows), right: far(part.right, panel.columns) };
  const loading = { side, asked, stop: new AbortController(), token: instance.frame.finer };
  instance.loading = loading;
  loading.timer = setTimeout(() => load(instance, loading), PAUSE);
}

export function stopRefining(instance) {
  clearTimeout(instance.loading?.timer);
  instance.loading?.stop.abort();
  instance.loading = null;
}

// Other data: what there was of the old is worth nothing.
export function forgetRegion(instance) {
  stopRefining(instance);
  instance.region = null;
}

// Asks for the region anew: the server has dropped its exact values.
export function again(instance) {
  forgetRegion(instance);
  instance.repaint();
}

async function load(instance, loading) {
  const { side, asked, stop, token } = loading;
  const [rows, columns] = [asked.bottom - asked.top, asked.right - asked.left];
  const query = new URLSearchParams({ top: asked.top, left: asked.left, rows, columns, side });
  try {
    const answer = await fetch(new URL(`../finer/${token}?${query}`, import.meta.url), { signal: stop.signal });
    if (answer.ok) take(instance, await answer.arrayBuffer());
    else await refused(instance, loading, answer);
  } catch {
    if (!stop.signal.aborted) loading.problem = FAILED;
  }
  if (!stop.signal.aborted) instance.repaint();
}

function take(instance, data) {
  const region = decodeRegion(data, instance.panels);
  const names = [region.queries, region.keys];
  const starts = [region.top, region.left];
  instance.region = { ...region, names, token: (side, index) => names[side]?.[index - starts[side]] };
  instance.loading = null;
}

// The server says why in one sentence. What it has dropped is there again after a rerun, which is asked for once.
async function refused(instance, loading, answer) {
  const said = await answer.text();
  if (loading.stop.signal.aborted) return;
  loading.problem = [400, 422, 503].includes(answer.status) && said ? said : FAILED;
  if (answer.status !== 404 || instance.renewed === loading.token) return;
  instance.renewed = loading.token;
  loading.problem = "";
  instance.trigger("stale", loading.token);
  loading.timer = setTimeout(() => load(instance, loading), RETRY);
}

// What one cell of the picture is, said under it; empty where each cell is a weight and has a pixel. `crowd` is how many
// cells share a pixel, down and across.
export function cellWords(instance, crowd) {
  const counts = crowd.map((count) => Number(count.toPrecision(2)));
  const [crowded, each] = [counts.some((count) => count > 1), counts.join(" × ")];
  if (!instance.frame.finer) return crowded ? `Each pixel shows the largest of ${each} cells${instance.place?.mixed ? "" : "; zoom in to see them all"}.` : "";
  if (instance.loading) return instance.loading.problem || "Loading finer cells…";
  const side = sideShown(instance);
  const pooling = [...new Set(instance.panels.map((panel) => panel.pooling))].join(" or the ");
  if (side === 1) return crowded ? `Exact weights; each pixel shows the largest of ${each}.` : "Exact weights.";
  const pixels = crowded ? `, each pixel the largest of ${each} cells` : "";
  const what = [...new Set(instance.panels.map((panel) => `${panel.value || "weight"}s`))].join(" or ");
  return `Each cell shows the ${pooling} of ${side} × ${side} ${what}${pixels}.`;
}

function sideShown(instance) {
  const { gd, panels } = instance;
  const sides = panels.flatMap((panel, i) => shownIn(instance, i, viewport(gd, panel)).slice(0, 1).map(({ side }) => side));
  return Math.max(panels[0].side === 1 ? 1 : 0, ...sides) || panels[0].side;
}
