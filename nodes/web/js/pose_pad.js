/** The pose pad of DualEnc Camera. Its state is only the node's widgets: yaw, pitch, roll, radius, fov. */

import { app } from "../../../scripts/app.js";
import { headGlyph } from "./head_glyph.js";
import {
  addElement,
  addStyles,
  after,
  canvasGetsMiddleButton,
  findWidget,
  isLinked,
  makePart,
  notchesOf,
  rounded,
  setWidgets,
  takeWheel,
  wrapped,
} from "./widgets.js";

const NODE = "DualEncCamera";
const FRONT = { yaw: 0, pitch: 0, roll: 0, radius: 2.7, fov: 13.374 };
const HEIGHT = 150;
const ANGLES = ["yaw", "pitch", "roll"];
const DEGREES_PER_FRAME = 180;
const RADIUS_PER_NOTCH = 1.05;
const TIP =
  "Drag or arrow keys: turn the head (Shift: fine dragging, large key steps). Wheel: radius. Double click: front.";
const TIP_LINKED = "Wheel: radius. Double click: usual radius.";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The pose that the widgets hold; what cannot be read is as from the front. */
function readPose(node) {
  const entries = Object.entries(FRONT).map(([name, front]) => {
    const value = Number(findWidget(node, name)?.value);
    return [name, Number.isFinite(value) ? value : front];
  });
  return Object.fromEntries(entries);
}

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
    takeWheel(this.element, (event) => this.wheel(event));
    this.listen();
  }

  /** Whether another node's camera gives the direction. */
  get directed() {
    return isLinked(this.node, "camera_info");
  }

  /** What the pad shows: the pose, and which angles come from elsewhere (they are drawn as from the front). */
  get state() {
    const linked = ANGLES.filter((name) => this.directed || isLinked(this.node, name));
    return { pose: { ...readPose(this.node), ...Object.fromEntries(linked.map((name) => [name, 0])) }, linked };
  }

  draw() {
    const { pose, linked } = this.state;
    this.svg.replaceChildren(
      ...headGlyph(pose).map(({ part, d }) => {
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.dataset.part = part;
        path.setAttribute("d", d);
        return path;
      }),
    );
    const free = ANGLES.filter((name) => !linked.includes(name) && (name !== "roll" || pose.roll !== 0));
    const angles = free.map((name) => `${name} ${pose[name].toFixed(1).replace(/\.0$/, "")}°`);
    this.readout.textContent = (this.directed ? [`radius ${pose.radius.toFixed(2)}`] : angles).join(" · ");
    const names = linked.filter((name) => !this.directed || name !== "roll").join(" and ");
    const from = this.directed ? "camera_info" : "a link";
    this.hint.textContent = linked.length ? `${names} ${names.includes(" ") ? "come" : "comes"} from ${from}` : "";
    this.element.classList.toggle("linked", this.directed);
    const words = ["Camera", this.hint.textContent, this.readout.textContent];
    this.element.setAttribute("aria-label", words.filter(Boolean).join(": "));
    this.element.title = this.directed ? TIP_LINKED : TIP;
  }

  turn(yaw, pitch, event) {
    if (!this.directed) setWidgets(this.node, { yaw: wrapped(yaw), pitch }, event);
    this.draw();
  }

  wheel(event) {
    event.preventDefault();
    event.stopPropagation();
    const { radius } = readPose(this.node);
    setWidgets(this.node, { radius: radius * RADIUS_PER_NOTCH ** notchesOf(event) }, event);
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
      const degrees = (DEGREES_PER_FRAME / this.svg.getBoundingClientRect().height) * (fine ? 0.1 : 1);
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
      if (!this.directed) setWidgets(this.node, { yaw: 0, pitch: 0 }, event);
      setWidgets(this.node, { radius: FRONT.radius }, event);
      this.draw();
    });
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
  let drawn = null;
  const redrawIfChanged = () => {
    const state = JSON.stringify(pad.state);
    if (drawn !== state) pad.draw();
    drawn = state;
  };
  for (const name of Object.keys(FRONT)) {
    const widget = findWidget(node, name);
    if (widget) after(widget, "callback", redrawIfChanged);
  }
  for (const name of ["onConfigure", "onConnectionsChange", "onDrawForeground"]) after(node, name, redrawIfChanged);
  // Whatever else changed the widgets, the pad is right as soon as it is on the screen again.
  new ResizeObserver(redrawIfChanged).observe(pad.element);
  redrawIfChanged();
  addElement(node, "pose_pad", "Camera", pad.element, HEIGHT);
}

app.registerExtension({
  name: "DualEnc.PosePad",
  setup: addStyles,
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPad(node);
  },
});
