// Where panels, labels and colour bars go for the width that there is, as a Plotly figure without cells.
// Margins are zero and domains are fractions of the whole figure: one pixel here is one pixel there.

const FONT_SIZE = 12;
const LINE = 11; // px that one line of labels needs, a pixel under its font: few letters use all of it
const STRIP = 30; // px above the panels for the modebar
const TITLE = 22; // px above each panel for its title
const TALLEST = 640; // px that a panel may be high
const NARROW = 560; // px of width under which there is a phone's layout
const PANEL_MIN = 150; // px under which a column more is not worth it
const STEPS = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10000];

const measuring = document.createElement("canvas").getContext("2d");

// Plotly reads tags, entities and, where MathJax is loaded, $formulas$ in every text.
export function escaped(text) {
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", $: "&#36;" };
  return text.replace(/[&<>$]/g, (c) => entities[c]);
}

// White space would be an empty label.
export function visible(token) {
  return token.trim() ? token.replace(/\s/g, " ") : "␣".repeat(Math.max(1, [...token].length));
}

function shortened(text, room) {
  if (measuring.measureText(text).width <= room) return text;
  const letters = [...text].slice(0, 40);
  while (letters.length > 1 && measuring.measureText(letters.join("") + "…").width > room) letters.pop();
  return letters.join("") + "…";
}

function labels(tokens, count, room) {
  const named = tokens.length === count && tokens.some((token, i) => token !== String(i));
  const texts = Array.from({ length: count }, (_, i) => (named ? shortened(visible(tokens[i]), room) : String(i)));
  const widest = texts.reduce((most, text) => Math.max(most, measuring.measureText(text).width), 8);
  return { texts, named, widest: Math.ceil(widest) };
}

function stepFor(room, cell) {
  return STEPS.find((step) => step * cell >= room) ?? STEPS.at(-1);
}

function ticks({ texts }, step) {
  const tickvals = [];
  for (let i = 0; i < texts.length; i += step) tickvals.push(i);
  return { tickmode: "array", tickvals, ticktext: tickvals.map((i) => escaped(texts[i])) };
}

// Tokens stand upright when they do not fit side by side; plain numbers are thinned out instead.
export function xTicks(label, cell) {
  const flat = label.widest + 8;
  if (cell >= flat || !label.named) return { ...ticks(label, stepFor(flat, cell)), tickangle: 0 };
  return { ...ticks(label, stepFor(LINE, cell)), tickangle: -90 };
}

export function yTicks(label, cell) {
  return ticks(label, stepFor(LINE, cell));
}

function columnCount(figure, width) {
  const fitting = Math.max(1, Math.floor(width / PANEL_MIN));
  const most = Math.min(fitting, figure.columns, figure.panels.length);
  return Math.ceil(figure.panels.length / Math.ceil(figure.panels.length / most));
}

function panelSize(panel, room, single) {
  const tallest = single ? TALLEST : Math.min(TALLEST, room * 1.6);
  const height = Math.max(Math.min((room * panel.rows) / panel.columns, tallest), 36);
  const square = (height * panel.columns) / panel.rows;
  return { width: Math.round(Math.min(room, Math.max(square, Math.min(room, 110)))), height: Math.round(height) };
}

// Returns every measure of the grid in pixels: boxes of panels, labels, and the place of a shared colour bar.
export function arrange(figure, width, font) {
  measuring.font = `${FONT_SIZE}px ${font}`;
  const narrow = width < NARROW;
  const bars = figure.panels.filter((panel) => panel.bar).length;
  const [first] = figure.panels;
  const room = narrow ? 62 : 116;
  const query = labels(figure.queries, first.rows, room);
  const key = labels(figure.keys, first.columns, room);
  const columns = columnCount(figure, width);
  const left = query.widest + 8 + (figure.queryTitle ? 20 : 0);
  const beside = bars === 1 && !narrow ? 92 : 12;
  const gap = 14 + (bars > 1 ? 58 : 0);
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
  const bottom = (upright ? key.widest : FONT_SIZE) + 12 + (figure.keyTitle ? 18 : 0);
  const gridHeight = rows * (size.height + titled) + (rows - 1) * 12;
  const below = bars === 1 && narrow ? 64 : 0;
  return { width, height: STRIP + gridHeight + bottom + below, boxes, query, key, left, bottom, bars, narrow, gridHeight };
}

function axisName(id) {
  return `${id[0]}axis${id.slice(1)}`;
}

function panelAxes(panel, i, box, place, figure, view) {
  const across = [box.left / place.width, (box.left + box.width) / place.width];
  const up = [1 - (box.top + box.height) / place.height, 1 - box.top / place.height];
  const same = panel.rows === figure.panels[0].rows && panel.columns === figure.panels[0].columns;
  const xRange = view?.x ?? [-0.5, panel.columns - 0.5];
  const yRange = view?.y ?? [panel.rows - 0.5, -0.5];
  const shared = { showgrid: false, zeroline: false, showline: true, mirror: true, ticks: "outside", ticklen: 3 };
  const x = {
    ...shared,
    ...xTicks(place.key, box.width / (xRange[1] - xRange[0])),
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
    ...yTicks(place.query, box.height / (yRange[0] - yRange[1])),
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
      const text = shortened(panel.title, box.width);
      found.push(note(text, box.left, box.top - 3, place, { xanchor: "left", yanchor: "bottom" }));
    }
    if (box.first && figure.queryTitle) {
      const middle = box.top + box.height / 2;
      found.push(note(figure.queryTitle, 1, middle, place, { textangle: -90, xanchor: "left", yanchor: "middle" }));
    }
    if (box.last && figure.keyTitle) {
      const under = box.top + box.height + place.bottom - 18;
      found.push(note(figure.keyTitle, box.left + box.width / 2, under, place, { xanchor: "center", yanchor: "top" }));
    }
  });
  return found;
}

function barPlace(i, place) {
  const box = place.boxes[i];
  const common = { thickness: 12, outlinewidth: 0, xpad: 0, ypad: 0, lenmode: "pixels", ticklen: 3, ticks: "outside" };
  if (place.bars === 1 && place.narrow) {
    const width = place.width - place.left - 24;
    const across = (place.left + 6) / place.width;
    return { ...common, orientation: "h", len: width, x: across, xanchor: "left", y: 0.002, yanchor: "bottom" };
  }
  const right = place.bars === 1 ? Math.max(...place.boxes.map((b) => b.left + b.width)) : box.left + box.width;
  const len = place.bars === 1 ? Math.min(place.gridHeight, 320) : box.height;
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
    if (place) Object.assign(layout, panelAxes(panel, i, place.boxes[i], place, figure, views));
  });
  if (panels.length) Object.assign(layout, { hovermode: false, showlegend: false, dragmode: touch ? false : "zoom" });
  if (place) {
    layout.height = place.height;
    layout.margin = { l: 0, r: 0, t: 0, b: 0, pad: 0 };
    layout.annotations = [...(figure.layout.annotations ?? []), ...notes(figure, place)];
  }
  layout.margin ??= { l: 56, r: 16, t: layout.title ? 44 : 24, b: 44 };
  layout.height ??= 450;
  return { data, layout };
}
