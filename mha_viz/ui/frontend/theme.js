import { rgb } from "./bitmap.js";

// Colours for states and marks, by whether the page is light or dark; the old ones if nothing changed.
export function readTheme(wrap, old) {
  const style = getComputedStyle(wrap);
  const read = (name, fallback) => style.getPropertyValue(`--st-${name}`).trim() || fallback;
  const [text, background] = [read("text-color", "#31333f"), read("background-color", "#ffffff")];
  const [border, font] = [read("border-color", "#d0d2d8"), read("font", "sans-serif")];
  const signature = [text, background, border, font].join();
  if (signature === old?.signature) return old;
  const [red, green, blue] = rgb(background);
  const dark = 0.3 * red + 0.59 * green + 0.11 * blue < 128;
  const colours = dark ? { masked: "#4b4e55", hatch: "#8b8f98" } : { masked: "#c9cbd0", hatch: "#8d9098" };
  const look = {
    masked: rgb(colours.masked),
    hatch: colours.hatch,
    nan: rgb("#ff4fa3"),
    nanCss: "#ff4fa3",
    cross: "#000000",
    warning: "#ff4a1c",
    blank: background,
    halo: "rgba(255,255,255,0.75)",
    line: "#101418",
  };
  const series = read("chart-categorical-colors", "").split(/,(?![^(]*\))/).filter(Boolean);
  const faint = dark ? "rgba(250,250,250,0.6)" : "rgba(49,51,63,0.6)";
  return { text, background, border, font, faint, series: series.length ? series : undefined, look, signature };
}
