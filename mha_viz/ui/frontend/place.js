// Where a panel and its cells are on the screen.

// Cell (row, column) starts at left + (column - 0.5 - x0) * dx.
export function viewport(gd, panel) {
  const x = gd._fullLayout?.[`xaxis${panel.xaxis.slice(1)}`];
  const y = gd._fullLayout?.[`yaxis${panel.yaxis.slice(1)}`];
  if (!x || !y) return null;
  const [x0, x1] = x.range;
  const [y1, y0] = y.range;
  const size = { left: x._offset, top: y._offset, width: x._length, height: y._length };
  return { ...size, x0, y0, dx: x._length / (x1 - x0), dy: y._length / (y1 - y0) };
}

// The box of a cell, or of a block of `side` × `side` cells that starts there.
export function cellBox(view, row, column, side = 1) {
  const left = view.left + (column - 0.5 - view.x0) * view.dx;
  return { left, top: view.top + (row - 0.5 - view.y0) * view.dy, width: view.dx * side, height: view.dy * side };
}
