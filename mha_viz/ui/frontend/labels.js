// Labels of axes: how wide their texts are, which of them have room, and how they stand.

import { FONT_SIZE } from "./sizes.js";

const LINE = 11; // px that one line of labels needs, a pixel under its font: few letters use all of it
const STEPS = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10_000, 20_000, 25_000, 50_000];
const OVERHANG = 6; // px that a label may stick out of its panel
const ALL = 4096; // labels up to which all are made; of more only those near the view

const measuring = document.createElement("canvas").getContext("2d");

// Says which font the widths of labels are measured in.
export function measureIn(font) {
  measuring.font = `${FONT_SIZE}px ${font}`;
}

// Plotly reads tags, entities and, where MathJax is loaded, $formulas$ in every text.
export function escaped(text) {
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", $: "&#36;" };
  return text.replace(/[&<>$]/g, (c) => entities[c]);
}

// White space would be an empty label.
export function visible(token) {
  return token.trim() ? token.replace(/\s/g, " ") : "␣".repeat(Math.max(1, [...token].length));
}

function sides({ queryTitle, keyTitle, queries, keys }) {
  return [
    { name: "query", title: queryTitle, tokens: queries },
    { name: "key", title: keyTitle, tokens: keys },
  ];
}

function isCalled({ name, title }, axis) {
  return axis === name || axis === title;
}

// What a panel's rows (side 0) or columns (side 1) are called, and the tokens along them, if the figure has any.
export function axisWords(figure, axis, side) {
  const both = sides(figure);
  const found = [both[side], both[1 - side]].find((one) => isCalled(one, axis));
  return found ? { title: found.title || found.name, tokens: found.tokens } : { title: axis, tokens: [] };
}

// Whether all panels have the figure's own two axes.
export function sharesAxes(figure) {
  const both = sides(figure);
  return figure.panels.every(({ axes }) => axes.every((axis, side) => isCalled(both[side], axis)));
}

export function shortened(text, room) {
  if (measuring.measureText(text).width <= room) return text;
  const letters = [...text].slice(0, 40);
  while (letters.length > 1 && measuring.measureText(letters.join("") + "…").width > room) letters.pop();
  return letters.join("") + "…";
}

// The labels along an axis: `text` gives that of one cell. Room is `reserved` where names come with a zoom.
export function labels(tokens, count, room, reserved = 0) {
  const named = tokens.length === count && tokens.some((token, i) => token !== String(i));
  const texts = named ? tokens.map((token) => shortened(visible(token), room)) : numbers(count);
  const widest = texts.reduce((most, text) => Math.max(most, measuring.measureText(text).width), 8);
  return { text: named ? (i) => texts[i] : String, named, reserved, from: 0, to: count, widest: Math.ceil(widest) };
}

// The names of the cells that are looked at, where there are too many to know them all.
export function labelsOf(tokens, from, { reserved }) {
  const text = (i) => shortened(visible(tokens[i - from]), reserved);
  return { text, named: true, reserved, from, to: from + tokens.length, widest: reserved };
}

// The widest that numbers below a count can be.
function numbers(count) {
  return Array.from({ length: 10 }, (_, digit) => String(digit).repeat(String(Math.max(0, count - 1)).length));
}

function stepFor(room, cell) {
  return STEPS.find((step) => step * cell >= room) ?? STEPS.at(-1);
}

// Labels of all cells, or of very many only those in a view (its first and last place) and as far again to both sides.
function ticks({ text, from, to }, step, view) {
  const near = to - from > ALL ? view[1] - view[0] : Infinity;
  const start = Math.max(from, Math.floor(view[0] - near));
  const end = Math.min(to, view[1] + near);
  const tickvals = [];
  for (let i = Math.ceil(start / step) * step; i < end; i += step) tickvals.push(i);
  return { tickmode: "array", tickvals, ticktext: tickvals.map((i) => escaped(text(i))) };
}

// Leaves out labels that would stick out of the panel and into those of its neighbour.
function within({ tickmode, tickvals, ticktext }, cell, [first, last]) {
  const fits = tickvals.map((at, i) => {
    const half = measuring.measureText(ticktext[i]).width / 2 - OVERHANG;
    return (at - first) * cell >= half && (last - at) * cell >= half;
  });
  const kept = (list) => list.filter((_, i) => fits[i]);
  return { tickmode, tickvals: kept(tickvals), ticktext: kept(ticktext) };
}

// Tokens stand upright when they do not fit side by side; plain numbers are thinned out instead.
export function xTicks(label, cell, view = [0, Infinity]) {
  const flat = label.widest + 8;
  if (cell >= flat || !label.named) return { ...within(ticks(label, stepFor(flat, cell), view), cell, view), tickangle: 0 };
  return { ...ticks(label, stepFor(LINE, cell), view), tickangle: -90 };
}

export function yTicks(label, cell, view = [0, Infinity]) {
  return ticks(label, stepFor(LINE, cell), view);
}
