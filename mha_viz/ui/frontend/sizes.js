// Lengths in pixels that every arrangement of panels keeps to.

export const FONT_SIZE = 12;
export const STRIP = 30; // above the panels, for the modebar
export const TITLE = 22; // above each panel, for its title
export const NARROW = 560; // width under which there is a phone's layout
export const MAP = 96; // of the map of a zoomed figure, along its longer side
