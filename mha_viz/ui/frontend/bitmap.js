// Cells as a small bitmap of colours: one pixel a cell, or one for several where they are smaller than pixels.

const tables = new Map();

// Packs [r, g, b] for a Uint32 view of canvas pixels (little-endian, as on every machine with a browser).
function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

export function rgb(colour) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return Array.from(context.getImageData(0, 0, 1, 1).data.subarray(0, 3));
}

// The 256 colours of a scale; the browser's own gradient understands every way to write a colour.
function table(colorscale) {
  const key = JSON.stringify(colorscale);
  if (!tables.has(key)) {
    const context = new OffscreenCanvas(256, 1).getContext("2d");
    const gradient = context.createLinearGradient(0.5, 0, 255.5, 0);
    colorscale.forEach(([place, colour]) => gradient.addColorStop(place, colour));
    context.fillStyle = gradient;
    context.fillRect(0, 0, 256, 1);
    tables.set(key, new Uint32Array(context.getImageData(0, 0, 256, 1).data.buffer));
  }
  return tables.get(key);
}

// The panel as a bitmap of one pixel a cell, or of the given smaller size.
export function bitmap(panel, width, height, look) {
  const kept = panel.bitmap;
  if (kept?.image.width === width && kept.image.height === height && kept.look === look) return kept.canvas;
  const { canvas, image } = surface(panel, width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = table(panel.colorscale);
  const masked = packed(look.masked);
  const states = Uint32Array.of(0, masked, masked, masked, packed(look.nan), 0); // 0: the colour of the weight
  if (width < panel.columns || height < panel.rows) poolCells(panel, image, pixels, colours, states);
  else if (panel.state) stateCells(panel, pixels, colours, states);
  else for (let i = 0; i < pixels.length; i += 1) pixels[i] = colours[panel.cells[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
  panel.bitmap = { look, canvas, image };
  return canvas;
}

// The surface that the panel's previous data was drawn on, if it fits: eight new ones a change would be garbage soon.
function surface(panel, width, height) {
  const old = panel.bitmap ?? panel.spare;
  panel.spare = undefined;
  if (old && old.image.width === width && old.image.height === height) return old;
  return { canvas: new OffscreenCanvas(width, height), image: new ImageData(width, height) };
}

function stateCells({ cells, state }, pixels, colours, states) {
  for (let i = 0; i < pixels.length; i += 1) pixels[i] = states[state[i]] || colours[cells[i]];
}

// Where each of `count` groups of cells starts, and where the last one ends.
function bounds(cells, count) {
  return Int32Array.from({ length: count + 1 }, (_, i) => Math.round((i * cells) / count));
}

// The colour indices in order of their distance from the middle of the scale, and each index's place in that order.
const OUTWARD = Uint16Array.from({ length: 256 }, (_, i) => 128 + (i % 2 ? -(i + 1) / 2 : i / 2));
const PLACE = Uint16Array.from({ length: 256 }, (_, index) => OUTWARD.indexOf(index));

// A pixel for several cells shows the largest of their weights, or on a scale around 0 what is farthest from it: a
// single strong cell must not vanish.
function poolCells(panel, image, pixels, colours, states) {
  if (panel.zmin !== -panel.zmax) {
    poolLargest(panel, image, pixels, colours, states);
    return;
  }
  const outward = { ...panel, cells: Uint8Array.from(panel.cells, (index) => PLACE[index]) };
  const own = Uint32Array.from(OUTWARD, (index) => colours[index]);
  poolLargest(outward, image, pixels, own, states);
}

function poolLargest(panel, { width, height }, pixels, colours, states) {
  const across = bounds(panel.columns, width);
  const down = bounds(panel.rows, height);
  const largest = new Uint16Array(width); // one more than the largest shown index, 0 where every cell is hidden
  const shown = Uint16Array.from(states, (colour) => (colour ? 0 : 0xffff));
  for (let y = 0, at = 0; y < height; y += 1) {
    largest.fill(0);
    for (let row = down[y]; row < down[y + 1]; row += 1) {
      if (panel.state) poolShown(panel, row, across, largest, shown);
      else poolRow(panel, row, across, largest);
    }
    const base = down[y] * panel.columns;
    for (let x = 0; x < width; x += 1, at += 1) {
      pixels[at] = largest[x] ? colours[largest[x] - 1] : states[panel.state[base + across[x]]];
    }
  }
}

// These two loops see every cell of a large figure. The maximum is taken without a branch, which on noisy weights
// is twice as fast: `less & (less >> 31)` is the difference where it is negative, else 0.
function poolRow({ cells, columns }, row, across, largest) {
  const base = row * columns;
  for (let x = 0, i = base; x < largest.length; x += 1) {
    const end = base + across[x + 1];
    let most = largest[x];
    for (; i < end; i += 1) {
      const less = most - (cells[i] + 1);
      most -= less & (less >> 31);
    }
    largest[x] = most;
  }
}

function poolShown({ cells, state, columns }, row, across, largest, shown) {
  const base = row * columns;
  for (let x = 0, i = base; x < largest.length; x += 1) {
    const end = base + across[x + 1];
    let most = largest[x];
    for (; i < end; i += 1) {
      const less = most - ((cells[i] + 1) & shown[state[i]]);
      most -= less & (less >> 31);
    }
    largest[x] = most;
  }
}
