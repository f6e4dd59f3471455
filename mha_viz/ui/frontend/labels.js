// Labels of axes: how wide their texts are, which of them have room, and how they stand.

import { FONT_SIZE } from "./sizes.js";

const LINE = 11; // px that one line of labels needs, a pixel under its font: few letters use all of it
const STEPS = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10000];

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

export function labels(tokens, count, room) {
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
