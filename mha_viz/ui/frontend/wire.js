// Reads what mha_viz/ui/wire.py wrote: a JSON header, then buffers that start at multiples of 8.

export function decode(data) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const buffer = bytes.slice().buffer; // a copy starts at 0: float views need their alignment
  const headerBytes = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headerBytes)));
  const views = new Map();
  const view = (type, place) => place && shared(views, buffer, 4 + headerBytes, type, place);
  const panels = header.figure.panels.map((panel, i) => {
    const sent = header.frame.panels[i];
    const later = typeof sent.values === "string";
    return {
      ...panel,
      zmin: sent.zmin,
      zmax: sent.zmax,
      scaled: sent.scaled,
      cells: view(Uint8Array, sent.cells),
      state: view(Uint8Array, sent.state),
      values: later ? null : view(Float32Array, sent.values),
      digest: later ? sent.values : null,
    };
  });
  return { figure: header.figure, frame: header.frame, revision: header.revision, panels };
}

// Arrays that several panels share are one view, so that what is derived from them can be kept by identity.
function shared(views, buffer, start, Type, [offset, bytes]) {
  const key = `${Type.name}:${offset}`;
  if (!views.has(key)) views.set(key, new Type(buffer, start + offset, bytes / Type.BYTES_PER_ELEMENT));
  return views.get(key);
}
