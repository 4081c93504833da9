/** The pose pad of DualEnc Camera. Its state is only the node's widgets: yaw, pitch, roll, radius, fov. */

import { app } from "../../../scripts/app.js";
import { headGlyph } from "./head_glyph.js";
import { addStyles, canvasGetsMiddleButton, fitNode, isLinked, makePart } from "./widgets.js";

const NODE = "DualEncCamera";
const FRONT = { yaw: 0, pitch: 0, roll: 0, radius: 2.7, fov: 13.374 };
const HEIGHT = 150;
const DEGREES_PER_WIDTH = 180;
const RADIUS_PER_NOTCH = 1.05;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const find = (node, name) => node.widgets?.find((widget) => widget.name === name);

/** The pose that the widgets hold; what cannot be read is as from the front. */
function readPose(node) {
  const entries = Object.entries(FRONT).map(([name, front]) => {
    const value = Number(find(node, name)?.value);
    return [name, Number.isFinite(value) ? value : front];
  });
  return Object.fromEntries(entries);
}

/** Sets widgets as if the user had typed; linked ones keep what their link gives. */
function writePose(node, change, event) {
  for (const [name, wanted] of Object.entries(change)) {
    const widget = find(node, name);
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

const wrapped = (degrees) => degrees - 360 * Math.ceil((degrees - 180) / 360);
const rounded = (value, step) => Math.round(value / step) * step;

class PosePad {
  constructor(node) {
    this.node = node;
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("viewBox", "-1.02 -1.02 2.04 2.04");
    this.svg.setAttribute("aria-hidden", "true");
    this.readout = makePart("readout");
    this.hint = makePart("hint");
    this.element = Object.assign(document.createElement("div"), { className: "dualenc-pad", tabIndex: 0 });
    this.element.append(this.svg, this.hint, this.readout);
    this.element.setAttribute("role", "application");
    this.element.setAttribute("aria-roledescription", "pose pad");
    // Nodes 2.0 leaves the wheel to elements that say so.
    this.element.dataset.captureWheel = "true";
    this.listen();
  }

  /** Whether another node's camera gives the direction. */
  get directed() {
    return isLinked(this.node, "camera_info");
  }

  draw() {
    const pose = readPose(this.node);
    this.svg.replaceChildren(
      ...headGlyph(pose).map(({ part, d }) => {
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.dataset.part = part;
        path.setAttribute("d", d);
        return path;
      }),
    );
    const linked = this.directed;
    const angles = ["yaw", "pitch", "roll"].filter((name) => name !== "roll" || pose.roll !== 0);
    const text = angles.map((name) => `${name} ${rounded(pose[name], 0.1).toFixed(1).replace(/\.0$/, "")}°`).join(" · ");
    this.element.classList.toggle("linked", linked);
    this.hint.textContent = linked ? "yaw and pitch come from camera_info" : "";
    this.readout.textContent = linked ? `radius ${pose.radius.toFixed(2)}` : text;
    this.element.setAttribute("aria-label", `Camera: ${linked ? this.hint.textContent : text}`);
    this.element.title = linked
      ? "Wheel: radius"
      : "Drag or arrow keys: turn the head (Shift: fine dragging, large key steps). Wheel: radius. Double click: front.";
  }

  turn(yaw, pitch, event) {
    if (!this.directed) writePose(this.node, { yaw: wrapped(yaw), pitch }, event);
    this.draw();
  }

  listen() {
    const { element } = this;
    let drag = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.stopPropagation();
      element.focus({ preventScroll: true });
      element.setPointerCapture(event.pointerId);
      element.classList.toggle("dragging", !this.directed);
      drag = { id: event.pointerId, x: event.clientX, y: event.clientY, ...readPose(this.node) };
    });
    element.addEventListener("pointermove", (event) => {
      if (event.pointerId !== drag?.id) return;
      event.stopPropagation();
      const fine = event.shiftKey;
      // The face follows the pointer, so the camera goes the other way round.
      const degrees = (DEGREES_PER_WIDTH / this.svg.getBoundingClientRect().height) * (fine ? 0.1 : 1);
      drag.yaw -= (event.clientX - drag.x) * degrees;
      drag.pitch = Math.min(90, Math.max(-90, drag.pitch + (event.clientY - drag.y) * degrees));
      [drag.x, drag.y] = [event.clientX, event.clientY];
      const step = fine ? 0.1 : 1;
      this.turn(rounded(drag.yaw, step), rounded(drag.pitch, step), event);
    });
    const release = (event) => {
      if (event.pointerId !== drag?.id) return;
      drag = null;
      element.classList.remove("dragging");
    };
    element.addEventListener("pointerup", release);
    element.addEventListener("pointercancel", release);
    element.addEventListener("lostpointercapture", release);
    element.addEventListener("dblclick", (event) => {
      event.stopPropagation();
      if (!this.directed) writePose(this.node, { yaw: 0, pitch: 0 }, event);
      writePose(this.node, { radius: FRONT.radius }, event);
      this.draw();
    });
    element.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        event.stopPropagation();
        // Lines and pages as pixels; one notch of a mouse wheel is about 100.
        const pixels = event.deltaY * [1, 33, 100][event.deltaMode];
        const { radius } = readPose(this.node);
        writePose(this.node, { radius: radius * RADIUS_PER_NOTCH ** Math.min(3, Math.max(-3, pixels / 100)) }, event);
        this.draw();
      },
      { passive: false },
    );
    element.addEventListener("keydown", (event) => {
      const arrow = ARROWS[event.key];
      if (!arrow || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      const { yaw, pitch } = readPose(this.node);
      const step = event.shiftKey ? 10 : 1;
      this.turn(yaw - arrow[0] * step, pitch + arrow[1] * step, event);
    });
    canvasGetsMiddleButton(element);
  }
}

function addPad(node) {
  const pad = new PosePad(node);
  const widget = node.addDOMWidget("pose_pad", "DUALENC_POSE_PAD", pad.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => HEIGHT + 20,
    onDraw: () => redrawIfChanged(),
  });
  widget.serialize = false;

  let drawn = null;
  const state = () => JSON.stringify([readPose(node), pad.directed]);
  const redrawIfChanged = () => {
    if (drawn === (drawn = state())) return;
    pad.draw();
  };
  const after = (target, name) => {
    const original = target[name];
    target[name] = function (...args) {
      const result = original?.apply(this, args);
      redrawIfChanged();
      return result;
    };
  };
  for (const name of Object.keys(FRONT)) {
    const target = find(node, name);
    if (target) after(target, "callback");
  }
  for (const name of ["onConfigure", "onConnectionsChange", "onDrawForeground"]) after(node, name);
  // Whatever else changed the widgets, the pad is right as soon as it is on the screen again.
  new ResizeObserver(redrawIfChanged).observe(pad.element);
  redrawIfChanged();
  fitNode(node);
}

app.registerExtension({
  name: "DualEnc.PosePad",
  setup: addStyles,
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPad(node);
  },
});
