// Reads what mha_viz/ui/wire.py wrote: a JSON header, then buffers that start at multiples of 8.

export function decode(data) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const headerBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + headerBytes)));
  const body = bytes.subarray(4 + headerBytes);
  const views = new Map();
  const view = (read, place) => place && shared(views, body, read, place);
  const panels = header.figure.panels.map((panel, i) => {
    const sent = header.frame.panels[i];
    const later = typeof sent.values === "string";
    return {
      ...panel,
      zmin: sent.zmin,
      zmax: sent.zmax,
      scaled: sent.scaled,
      cells: view(bytesOf, sent.cells),
      state: view(bytesOf, sent.state),
      values: later ? null : view(floatsOf, sent.values),
      digest: later ? sent.values : null,
    };
  });
  const { paint } = header.frame;
  if (paint?.allowed) paint.allowed = view(bytesOf, paint.allowed);
  return { figure: header.figure, frame: header.frame, revision: header.revision, panels };
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
