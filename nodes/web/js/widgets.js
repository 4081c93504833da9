/** What the DOM widgets of this pack share. */

import { app } from "../../../scripts/app.js";

/** Load our style sheet once. */
export function addStyles() {
  const href = new URL("dualenc.css", import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}

/** A piece of a widget, for the style sheet. */
export function makePart(name, textContent = "") {
  const element = Object.assign(document.createElement("div"), { textContent });
  element.dataset.part = name;
  return element;
}

/** Whether a value comes through a link: an input, or a widget that is one (also in its old, converted form). */
export function isLinked(node, name) {
  const input = node.inputs?.find((slot) => slot.name === name || slot.widget?.name === name);
  return input?.link != null;
}

/** Make a new node large enough for the widgets that were added to it. */
export function fitNode(node) {
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
}

/** The middle button moves the canvas, also over a DOM widget. */
export function canvasGetsMiddleButton(element) {
  element.addEventListener("pointerdown", (event) => event.button === 1 && app.canvas.processMouseDown(event));
  element.addEventListener("pointermove", (event) => event.buttons & 4 && app.canvas.processMouseMove(event));
  element.addEventListener("pointerup", (event) => event.button === 1 && app.canvas.processMouseUp(event));
}
