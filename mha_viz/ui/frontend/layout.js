// Where panels, labels and colour bars go for the width that there is, as a Plotly figure without cells.
// Margins are zero and domains are fractions of the whole figure: one pixel here is one pixel there.

import { escaped, labels, measureIn, sharesAxes, shortened, xTicks, yTicks } from "./labels.js";
import { arrangeMixed } from "./mixed.js";
import { FONT_SIZE, MAP, NARROW, STRIP, TITLE } from "./sizes.js";

const TALLEST = 640; // px that a panel may be high
const PANEL_MIN = 150; // px under which a column more is not worth it
const BAR = 58; // px for a colour bar of a panel's own
const MAPPED = 64; // rows above which a zoomed figure has a map
const BAR_MIN = 120; // px that a colour bar must have above the map

function columnCount(figure, width, bars) {
  const each = PANEL_MIN + (bars > 1 ? BAR : 0);
  const fitting = Math.max(1, Math.floor(width / each));
  const most = Math.min(fitting, figure.columns, figure.panels.length);
  return Math.ceil(figure.panels.length / Math.ceil(figure.panels.length / most));
}

function panelSize(panel, room, single) {
  const tallest = single ? TALLEST : Math.min(TALLEST, room * 1.6);
  const height = Math.max(Math.min((room * panel.rows) / panel.columns, tallest), 36);
  const square = (height * panel.columns) / panel.rows;
  return { width: Math.round(Math.min(room, Math.max(square, Math.min(room, 110)))), height: Math.round(height) };
}

function axisLabels(figure, [first], narrow) {
  const room = narrow ? 62 : 116;
  const reserved = (side) => (figure.named?.[side] ? 48 : 0);
  return [labels(figure.queries, first.rows, room, reserved(0)), labels(figure.keys, first.columns, room, reserved(1))];
}

// Where the map of a zoomed figure goes: beside the colour bar or under it, or null where there is no room.
function mapPlace({ width, height, narrow, gridHeight, bars, boxes }, [{ rows, columns, side }]) {
  if (rows <= MAPPED && side === 1) return null;
  const across = Math.max(MAP / 4, Math.round(MAP * Math.min(1, columns / rows)));
  const down = Math.max(MAP / 4, Math.round(MAP * Math.min(1, rows / columns)));
  const right = Math.max(...boxes.map((box) => box.left + box.width));
  const beside = !narrow && width - right >= 92 + MAP + 8;
  if (!narrow && !beside && gridHeight < MAP + (bars === 1 ? BAR_MIN : 0)) return null;
  const bottom = narrow ? height : STRIP + gridHeight;
  return { left: width - across - 4, top: beside ? boxes[0].top : bottom - down - 4, width: across, height: down, beside };
}

// Returns every measure of the grid in pixels: boxes of panels, labels, and the place of a shared colour bar.
export function arrange(figure, width, font) {
  measureIn(font);
  if (!sharesAxes(figure)) return arrangeMixed(figure, width);
  const narrow = width < NARROW;
  const bars = figure.panels.filter((panel) => panel.bar).length;
  const [first] = figure.panels;
  const [query, key] = axisLabels(figure, figure.panels, narrow);
  const mapped = first.rows > MAPPED || first.side > 1;
  const columns = columnCount(figure, width, bars);
  const left = Math.max(query.widest, query.reserved) + 8 + (figure.queryTitle ? 24 : 0);
  const beside = narrow ? 12 : Math.max(bars === 1 ? 92 : 12, mapped ? MAP + 20 : 0);
  const gap = 14 + (bars > 1 ? BAR : 0);
  const available = (width - left - beside - gap * (columns - 1) - (bars > 1 ? 46 : 0)) / columns;
  const size = panelSize(first, Math.floor(available), figure.panels.length === 1);
  const titled = figure.panels.some((panel) => panel.title) ? TITLE : 6;
  const count = figure.panels.length;
  const rows = Math.ceil(count / columns);
  const boxes = figure.panels.map((panel, i) => ({
    left: left + (i % columns) * (size.width + gap),
    top: STRIP + titled + Math.floor(i / columns) * (size.height + titled + 12),
    ...size,
    first: i % columns === 0,
    last: i + columns >= count,
  }));
  const upright = xTicks(key, size.width / first.columns).tickangle !== 0;
  const bottom = Math.max(upright ? key.widest : FONT_SIZE, key.reserved) + 12 + (figure.keyTitle ? 18 : 0);
  const gridHeight = rows * (size.height + titled) + (rows - 1) * 12;
  const below = narrow ? Math.max(bars === 1 ? 64 : 0, mapped ? MAP + 12 : 0) : 0;
  const place = { width, height: STRIP + gridHeight + bottom + below, boxes, query, key, left, bottom, bars, narrow, gridHeight };
  return { ...place, map: mapPlace(place, figure.panels) };
}

function axisName(id) {
  return `${id[0]}axis${id.slice(1)}`;
}

function panelAxes(panel, i, box, place, figure, view) {
  const across = [box.left / place.width, (box.left + box.width) / place.width];
  const up = [1 - (box.top + box.height) / place.height, 1 - box.top / place.height];
  const same = !place.mixed && panel.rows === figure.panels[0].rows && panel.columns === figure.panels[0].columns;
  const xRange = view?.x ?? [-0.5, panel.columns - 0.5];
  const yRange = view?.y ?? [panel.rows - 0.5, -0.5];
  const shared = { showgrid: false, zeroline: false, showline: true, mirror: true, ticks: "outside", ticklen: 3, fixedrange: place.mixed };
  const x = {
    ...shared,
    ...xTicks(box.key ?? place.key, box.width / (xRange[1] - xRange[0]), xRange),
    domain: across,
    anchor: panel.yaxis,
    range: xRange,
    minallowed: -0.5,
    maxallowed: panel.columns - 0.5,
    showticklabels: box.last,
    matches: i && same ? figure.panels[0].xaxis : undefined,
  };
  const y = {
    ...shared,
    ...yTicks(box.query ?? place.query, box.height / (yRange[0] - yRange[1]), [yRange[1], yRange[0]]),
    domain: up,
    anchor: panel.xaxis,
    range: yRange,
    minallowed: -0.5,
    maxallowed: panel.rows - 0.5,
    showticklabels: box.first,
    matches: i && same ? figure.panels[0].yaxis : undefined,
  };
  return { [axisName(panel.xaxis)]: x, [axisName(panel.yaxis)]: y };
}

function note(text, x, y, place, more) {
  return {
    text: escaped(text),
    x: x / place.width,
    y: 1 - y / place.height,
    xref: "paper",
    yref: "paper",
    showarrow: false,
    font: { size: 13 },
    ...more,
  };
}

// Panel titles, and the names of the axes once a row and once a column: repeated in each panel they would be noise.
function notes(figure, place) {
  const found = [];
  figure.panels.forEach((panel, i) => {
    const box = place.boxes[i];
    if (panel.title) {
      const text = shortened(panel.title, box.room ?? box.width);
      found.push(note(text, box.left, box.top - 3, place, { xanchor: "left", yanchor: "bottom" }));
    }
    const [queryTitle, keyTitle] = [box.queryTitle ?? figure.queryTitle, box.keyTitle ?? figure.keyTitle];
    if (box.first && queryTitle) {
      const middle = box.top + box.height / 2;
      found.push(note(queryTitle, box.titleLeft ?? 1, middle, place, { textangle: -90, xanchor: "left", yanchor: "middle" }));
    }
    if (box.last && keyTitle) {
      const under = box.top + box.height + (box.bottom ?? place.bottom) - 18;
      found.push(note(keyTitle, box.left + box.width / 2, under, place, { xanchor: "center", yanchor: "top" }));
    }
  });
  return found;
}

function barPlace(i, place) {
  const box = place.boxes[i];
  const common = { thickness: 12, outlinewidth: 0, xpad: 0, ypad: 0, lenmode: "pixels", ticklen: 3, ticks: "outside" };
  if (place.bars === 1 && place.narrow) {
    const width = place.width - place.left - 24 - (place.map ? MAP + 12 : 0);
    const across = (place.left + 6) / place.width;
    return { ...common, orientation: "h", len: width, x: across, xanchor: "left", y: 0.002, yanchor: "bottom" };
  }
  const right = place.bars === 1 ? Math.max(...place.boxes.map((b) => b.left + b.width)) : box.left + box.width;
  const len = place.bars === 1 ? Math.min(place.gridHeight - (place.map && !place.map.beside ? MAP + 28 : 0), 320) : box.height;
  const top = place.bars === 1 ? STRIP : box.top;
  const upright = { len, x: (right + (place.bars === 1 ? 14 : 5)) / place.width, xanchor: "left" };
  const thickness = place.bars === 1 ? 12 : 7;
  return { ...common, ...upright, thickness, y: 1 - top / place.height, yanchor: "top" };
}

function tickText(value) {
  if (value === 0) return "0";
  const text = String(Number(value.toPrecision(3)));
  return Math.abs(value) < 1e-3 || text.length > 7 ? Number(value.toPrecision(3)).toExponential() : text;
}

// The bar's own range is always 0 to 1 with ticks at the quarters, so that a new range of weights changes five texts
// and no positions. A figure's own ticks (of a logarithmic scale) stand where they belong.
export function barTicks({ bar, zmin, zmax }) {
  const span = zmax - zmin;
  if (!bar.tickvals) {
    const tickvals = [0, 0.25, 0.5, 0.75, 1];
    return { tickvals, ticktext: tickvals.map((part) => tickText(zmin + part * span)) };
  }
  const all = bar.tickvals.map((v, i) => [v, bar.ticktext?.[i] ?? tickText(v)]);
  const inside = all.filter(([v]) => v >= zmin && v <= zmax);
  return { tickvals: inside.map(([v]) => (v - zmin) / (span || 1)), ticktext: inside.map(([, text]) => text) };
}

export function barTrace(panel, i, place) {
  const { title, len: _len, x: _x, y: _y, ...style } = panel.bar;
  const at = place ? barPlace(i, place) : {};
  const sized = { ...style, ...at, tickfont: { size: FONT_SIZE }, ...barTicks(panel), tickmode: "array" };
  const marker = { color: [0], cmin: 0, cmax: 1, colorscale: panel.colorscale, showscale: true };
  const named = place?.bars > 1 ? {} : { title: { ...title, side: "top", font: { size: FONT_SIZE } } };
  return { ...anchor(panel), marker: { ...marker, colorbar: { ...sized, ...named } } };
}

// An empty trace makes Plotly draw a panel's axes; the cells are not Plotly's.
function anchor(panel) {
  const axes = { xaxis: panel.xaxis, yaxis: panel.yaxis };
  return { type: "scatter", mode: "markers", x: [null], y: [null], hoverinfo: "skip", showlegend: false, ...axes };
}

function template(theme) {
  const axis = { gridcolor: theme.border, linecolor: theme.border, tickcolor: theme.border, zerolinecolor: theme.border };
  return {
    layout: {
      font: { family: theme.font, size: FONT_SIZE, color: theme.text },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      colorway: theme.series,
      xaxis: axis,
      yaxis: axis,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.faint, activecolor: theme.text },
      hoverlabel: { bgcolor: theme.background, bordercolor: theme.border, font: { color: theme.text } },
    },
  };
}

// Returns { data, layout } for Plotly; `place` is what arrange() found, or null where the figure arranges itself.
export function plotlyFigure(figure, panels, place, views, theme, width, touch) {
  const data = [...figure.others];
  const layout = { ...figure.layout, template: template(theme), width };
  panels.forEach((panel, i) => {
    data.push(panel.bar ? barTrace(panel, i, place) : anchor(panel));
    if (place) Object.assign(layout, panelAxes(panel, i, place.boxes[i], place, figure, place.mixed ? null : views));
  });
  if (panels.length) Object.assign(layout, { hovermode: false, showlegend: false, dragmode: touch || place?.mixed ? false : "zoom" });
  if (place) {
    layout.height = place.height;
    layout.margin = { l: 0, r: 0, t: 0, b: 0, pad: 0 };
    layout.annotations = [...(figure.layout.annotations ?? []), ...notes(figure, place)];
  }
  layout.margin ??= { l: 56, r: 16, t: layout.title ? 44 : 24, b: 44 };
  layout.height ??= 450;
  return { data, layout };
}
