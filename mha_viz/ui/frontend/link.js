// One cursor for all figures of a page. A figure tells the others what its cursor points at by the names of the axes,
// { query: 3, key: 5 }; each marks its rows and columns of these names. Nothing of it goes through the server.

const EVENT = "mha-viz-cursor";

// What a cell stands for; a pooled figure's cell for the first of those in it.
function named({ panels }, { panel, query, key }) {
  const { axes, pool } = panels[panel];
  return { [axes[1]]: key * pool, [axes[0]]: query * pool };
}

// The row and the column of a panel that carry these names; each is left out if the panel does not have it.
export function placed(names, panel) {
  const find = (axis, count) => {
    const at = Math.floor((names?.[axis] ?? NaN) / panel.pool);
    return at < count ? at : undefined;
  };
  return { query: find(panel.axes[0], panel.rows), key: find(panel.axes[1], panel.columns) };
}

// What the cursor marks in one panel, whether it is this figure's own or another's.
export function pointed(instance, i) {
  const { cursor, linked, panels } = instance;
  if (!linked && cursor?.panel === i) return cursor;
  const names = linked ?? (cursor && named(instance, cursor));
  return placed(names, panels[i]);
}

// Tells the other figures when what the cursor points at has changed.
export function announce(instance) {
  const names = instance.cursor && named(instance, instance.cursor);
  const text = names ? JSON.stringify(names) : "";
  if (text === (instance.announced ?? "")) return;
  instance.announced = text;
  if (names) instance.linked = null; // the latest to move is followed
  window.dispatchEvent(new CustomEvent(EVENT, { detail: { from: instance.wrap, names } }));
}

export function listenToOthers(instance, show, signal) {
  const hear = ({ detail }) => {
    if (detail.from === instance.wrap) return;
    instance.linked = detail.names;
    show(instance);
  };
  window.addEventListener(EVENT, hear, { signal });
}

// A figure that goes takes its cursor along.
export function leave(instance) {
  instance.cursor = null;
  announce(instance);
}
