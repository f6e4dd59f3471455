// PNG and SVG: the cells as one picture under Plotly's own export, on the theme's background, with the zoom as it is.

import { paintRaster, prepare } from "./cells.js";
import { viewport } from "./place.js";
import { shownIn } from "./raster.js";

const SCALE = 2; // device pixels per pixel of the page, enough for print

function picture(instance, width, height) {
  const canvas = document.createElement("canvas");
  const context = prepare(canvas, width, height, SCALE);
  for (const [i, panel] of instance.panels.entries()) {
    const view = viewport(instance.gd, panel);
    for (const raster of view ? shownIn(instance, i, view) : []) {
      paintRaster(context, { ...raster, bitmap: undefined }, view, instance.theme.look, SCALE);
    }
  }
  return canvas.toDataURL("image/png");
}

function save(url, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
}

export async function download(instance, format) {
  const { width, height } = instance.gd._fullLayout;
  const whole = { xref: "paper", yref: "paper", x: 0, y: 1, sizex: 1, sizey: 1, sizing: "stretch", layer: "below" };
  const { l, r, t, b } = instance.gd._fullLayout._size; // where paper coordinates start and end, in pixels
  const paper = { x: -l / (width - l - r), y: 1 + t / (height - t - b) };
  const spread = { sizex: width / (width - l - r), sizey: height / (height - t - b) };
  const images = instance.panels.length ? [{ ...whole, ...paper, ...spread, source: picture(instance, width, height) }] : [];
  const layout = { ...instance.gd.layout, images, paper_bgcolor: instance.theme.background };
  const scale = format === "png" ? SCALE : 1;
  const url = await window.Plotly.toImage({ data: instance.gd.data, layout }, { format, width, height, scale });
  save(url, `${instance.frame.filename}.${format}`);
}
