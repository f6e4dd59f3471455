// A stroke: the cells of one panel that one gesture covers, all of them to be allowed or all to be masked.
// `runs` holds them as [query, first key, last key], in order and without overlap.

const MOST_RUNS = 8192; // as many as the server takes

// What a tool covers when it is dragged from one cell to another; the brush remembers where it has been.
const TOOLS = {
  brush: (stroke, _from, to) => brushed(stroke, to),
  rectangle: (_stroke, from, to) => box(from, to),
  row: ({ panel }, from, to) => box({ ...from, key: 0 }, { ...to, key: panel.columns - 1 }),
  column: ({ panel }, from, to) => box({ ...from, query: 0 }, { ...to, query: panel.rows - 1 }),
};

export function begin(tool, panel, from, value) {
  return extend({ tool, panel, from, value, last: from, seen: new Set(), runs: [] }, from);
}

export function extend(stroke, to) {
  stroke.runs = TOOLS[stroke.tool](stroke, stroke.from, to);
  stroke.last = to;
  return stroke;
}

export function box(from, to) {
  const [first, last] = [Math.min(from.key, to.key), Math.max(from.key, to.key)];
  const runs = [];
  for (let query = Math.min(from.query, to.query); query <= Math.max(from.query, to.query); query += 1) {
    runs.push([query, first, last]);
  }
  return runs;
}

// A fast pointer jumps over cells: the straight line to where it was last is filled in.
function brushed(stroke, to) {
  const { last, seen, runs, panel } = stroke;
  if (runs.length >= MOST_RUNS) return runs;
  const steps = Math.max(Math.abs(to.query - last.query), Math.abs(to.key - last.key), 1);
  for (let step = 0; step <= steps; step += 1) {
    const query = Math.round(last.query + ((to.query - last.query) * step) / steps);
    seen.add(query * panel.columns + Math.round(last.key + ((to.key - last.key) * step) / steps));
  }
  return runsOf(seen, panel.columns).slice(0, MOST_RUNS);
}

function runsOf(cells, columns) {
  const runs = [];
  for (const at of [...cells].toSorted((one, other) => one - other)) {
    const [query, key] = [Math.floor(at / columns), at % columns];
    const run = runs.at(-1);
    if (run?.[0] === query && run[2] === key - 1) run[2] = key;
    else runs.push([query, key, key]);
  }
  return runs;
}

export function covers({ runs }, { query, key }) {
  return runs.some(([row, first, last]) => row === query && first <= key && key <= last);
}

export function count({ runs }) {
  return runs.reduce((cells, [, first, last]) => cells + last - first + 1, 0);
}
