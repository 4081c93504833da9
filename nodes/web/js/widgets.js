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
  const slot = node.inputs?.findIndex((input) => input.name === name || input.widget?.name === name) ?? -1;
  return slot >= 0 && node.isInputConnected(slot);
}

/** Runs something after each call of a method that others may have set too. */
export function after(target, name, then) {
  const original = target[name];
  target[name] = function (...args) {
    const result = original?.apply(this, args);
    then();
    return result;
  };
}

/**
 * Adds an element as the last widget of a node; nothing of it is saved or queued.
 *
 * @param {string} label what App mode writes above it
 * @param {number | () => number} height smallest height of the element in pixels
 */
export function addElement(node, name, label, element, height) {
  const margin = 10; // that the classic canvas keeps above and below
  const smallest = typeof height === "function" ? height : () => height;
  const options = { serialize: false, hideOnZoom: false, margin, getMinHeight: () => smallest() + 2 * margin };
  const widget = node.addDOMWidget(name, `DUALENC_${name.toUpperCase()}`, element, options);
  widget.serialize = false;
  widget.label = label;
  after(node, "onAdded", () => requestAnimationFrame(() => replaceFormer(node, element)));
  fitNode(node);
}

/**
 * Undo makes every node anew with its old id. Nodes 2.0 then goes on showing the element of the former node, which
 * nobody listens to any more.
 */
function replaceFormer(node, element) {
  if (node.graph !== app.canvas.graph) return;
  const former = document.querySelector(`[data-node-id="${node.id}"] .${element.classList[0]}`);
  if (former && former !== element) former.replaceWith(element);
}

/** Make a node large enough for its widgets. */
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

/** A widget of a node by its name. */
export const findWidget = (node, name) => node.widgets?.find((widget) => widget.name === name);

/** Sets widgets as if the user had typed; linked ones keep what their link gives. */
export function setWidgets(node, change, event) {
  for (const [name, wanted] of Object.entries(change)) {
    const widget = findWidget(node, name);
    if (!widget || isLinked(node, name)) continue;
    const { min = -Infinity, max = Infinity } = widget.options ?? {};
    const value = Number(Math.min(max, Math.max(min, wanted)).toFixed(2));
    const before = widget.value;
    if (value === before) continue;
    widget.value = value;
    widget.callback?.(value, app.canvas, node, node.pos, event);
    node.onWidgetChanged?.(name, value, before, widget);
  }
  node.graph?.setDirtyCanvas(true, true);
}

/** Degrees in -180 < x ≤ 180. */
export const wrapped = (degrees) => degrees - 360 * Math.ceil((degrees - 180) / 360);

export const rounded = (value, step) => Math.round(value / step) * step;

/** Notches of the wheel, at most three at once; one is about 100 pixels, and lines and pages count as so many. */
export function notchesOf(event) {
  const notches = (event.deltaY * [1, 33, 100][event.deltaMode]) / 100;
  return Math.min(3, Math.max(-3, notches));
}

const wheels = new WeakMap();

/** Hands the wheel over an element to it. Nodes 2.0 takes it for the canvas before it comes to one without focus. */
export function takeWheel(element, handler) {
  if (!takeWheel.listens) {
    const onWheel = (event) => wheels.get(event.target?.closest?.("[data-dualenc-wheel]"))?.(event);
    window.addEventListener("wheel", onWheel, { capture: true, passive: false });
    takeWheel.listens = true;
  }
  element.dataset.dualencWheel = "";
  wheels.set(element, handler);
}
