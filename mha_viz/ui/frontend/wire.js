// Reads messages as mha_viz/ui/buffers.py packed them: a JSON header, then buffers that start at multiples of 8.

export function decode(data) {
  const { header, view } = opened(data);
  const panels = header.figure.panels.map((panel, i) => {
    const sent = header.frame.panels[i];
    const { zmin, zmax, pending } = sent;
    const own = { ...panel, zmin, zmax };
    const whole = { top: 0, left: 0, side: panel.side, rows: blocks(panel.rows, panel.side), columns: blocks(panel.columns, panel.side) };
    return { ...own, raster: pending ? null : raster(own, sent, whole, view) };
  });
  const { paint } = header.frame;
  if (paint?.allowed) paint.allowed = view(bytesOf, paint.allowed);
  return { figure: header.figure, frame: header.frame, revision: header.revision, panels };
}

// Reads finer cells as mha_viz/ui/finer_route.py wrote them, for panels with their colours.
export function decodeRegion(data, panels) {
  const { header, view } = opened(data);
  const rasters = panels.map((panel, i) => {
    const sent = header.panels[i];
    return sent && panel.raster ? raster(panel, sent, header, view) : null;
  });
  return { ...header, rasters };
}

function opened(data) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const headerBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + headerBytes)));
  const body = bytes.subarray(4 + headerBytes);
  const views = new Map();
  return { header, view: (read, place) => place && shared(views, body, read, place) };
}

function blocks(cells, side) {
  return Math.ceil(cells / side);
}

// What is sent of one panel, with its place and its colours.
function raster({ zmin, zmax, colorscale }, sent, { top, left, side, rows, columns }, view) {
  const later = typeof sent.values === "string";
  return {
    top,
    left,
    side,
    rows,
    columns,
    zmin,
    zmax,
    colorscale,
    scaled: sent.scaled,
    cells: view(bytesOf, sent.cells),
    state: view(bytesOf, sent.state),
    values: later ? null : view(floatsOf, sent.values),
    digest: later ? sent.values : null,
  };
}

// Arrays that several panels share are one view, so that what is derived from them can be kept by identity.
function shared(views, body, read, [offset, bytes]) {
  if (!views.has(offset)) views.set(offset, read(body.subarray(offset, offset + bytes)));
  return views.get(offset);
}

function bytesOf(part) {
  return part;
}

// A copy: floats must start at a multiple of 4, and the message starts anywhere.
function floatsOf(part) {
  return new Float32Array(part.slice().buffer);
}
