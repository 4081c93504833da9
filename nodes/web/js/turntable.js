/**
 * The viewer of DualEnc Turntable: pictures that the server made, one for each view, turned without it.
 *
 * What is shown is only the node's widgets: yaw, pitch, zoom. Pictures come one by one while the node runs
 * ("dualenc.turntable"), or all in one file when a page is opened again.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { keptOutput, nodeOf } from "./report.js";
import {
  addElement,
  addStyles,
  after,
  canvasGetsMiddleButton,
  findWidget,
  makePart,
  notchesOf,
  rounded,
  setWidgets,
  takeWheel,
  wrapped,
} from "./widgets.js";

const NODE = "DualEncTurntable";
const EVENT = "dualenc.turntable";
const FRONT = { yaw: 0, pitch: 0, zoom: 1 };
const SMALLEST = 280;
const DEGREES_PER_FRAME = 180;
const ZOOM_PER_NOTCH = 0.87;
const KEYS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const TIP = "Drag or arrow keys: turn. Wheel, + and -: zoom. Space: play. Double click: front.";
const EMPTY = "Run, then drag to turn the head.";
const GONE = "The pictures are gone. Run again.";

const viewers = new WeakMap();
const between = (low, value, high) => Math.min(high, Math.max(low, value));

/** A picture from an address; rejects when there is none. */
async function load(address) {
  const image = Object.assign(new Image(), { src: address });
  await image.decode();
  return image;
}

class Turntable {
  constructor(node) {
    this.node = node;
    this.canvas = document.createElement("canvas");
    this.hint = makePart("hint", EMPTY);
    this.readout = makePart("readout");
    this.button = Object.assign(document.createElement("button"), { type: "button", textContent: "▶" });
    this.button.setAttribute("aria-label", "Play");
    this.element = Object.assign(document.createElement("div"), { className: "dualenc-turntable", tabIndex: 0 });
    this.element.append(this.canvas, this.hint, this.readout, this.button);
    this.element.setAttribute("role", "application");
    this.element.setAttribute("aria-roledescription", "turntable");
    this.element.title = TIP;
    this.strip = null; // {token, views, pitches, size}
    this.pictures = []; // by number of the view: {image, x, y}
    this.playing = 0; // the animation frame that is asked for
    this.listen();
    this.draw();
  }

  value(name) {
    const value = Number(findWidget(this.node, name)?.value);
    return Number.isFinite(value) ? value : (FRONT[name] ?? 0);
  }

  /** Makes room for a run's pictures; those of another run are forgotten. */
  begin({ token, views, pitches, size }) {
    if (this.strip?.token === token) return;
    this.strip = { token, views, pitches, size };
    this.pictures = new Array(views * pitches.length);
    this.hint.textContent = "";
    this.canvas.width = this.canvas.height = size;
  }

  /** One picture of the run that goes on. */
  async receive(message) {
    this.begin(message);
    const { token, view } = message;
    const image = await load(message.picture);
    if (this.strip.token !== token) return;
    this.pictures[view] = { image, x: 0, y: 0 };
    this.draw();
  }

  /** The output of a run that has ended. */
  async show(output) {
    const line = output?.dualenc_turntable?.[0];
    if (!line || (this.strip?.token === line.token && this.complete)) return;
    const { sheet, subfolder, type, columns, size, views, pitches } = line;
    const query = new URLSearchParams({ filename: sheet, subfolder, type });
    try {
      const image = await load(api.apiURL(`/view?${query}`));
      this.begin(line);
      for (let i = 0; i < views * pitches.length; i++) {
        this.pictures[i] ??= { image, x: (i % columns) * size, y: Math.floor(i / columns) * size };
      }
    } catch {
      if (!this.strip) this.hint.textContent = GONE;
    }
    this.draw();
  }

  get count() {
    return this.pictures.reduce((sum) => sum + 1, 0);
  }

  get complete() {
    return this.strip !== null && this.count === this.pictures.length;
  }

  /** Number of the picture that is there and nearest to a direction; -1 if there is none. */
  nearest(yaw, pitch) {
    let [best, least] = [-1, Infinity];
    this.pictures.forEach((_, number) => {
      const turn = Math.abs(wrapped(yaw - (360 * (number % this.strip.views)) / this.strip.views));
      const distance = turn + Math.abs(pitch - this.strip.pitches[Math.floor(number / this.strip.views)]);
      if (distance < least) [best, least] = [number, distance];
    });
    return best;
  }

  draw(yaw = this.value("yaw")) {
    const [pitch, zoom] = [this.value("pitch"), this.value("zoom")];
    const shown = this.strip ? this.nearest(yaw, pitch) : -1;
    this.element.dataset.shown = shown;
    this.element.dataset.pictures = this.count;
    if (shown >= 0) {
      const { image, x, y } = this.pictures[shown];
      const { size } = this.strip;
      const part = size / Math.max(1, zoom);
      const edge = (size - part) / 2;
      this.canvas.getContext("2d").drawImage(image, x + edge, y + edge, part, part, 0, 0, size, size);
    }
    const words = [`yaw ${Math.round(wrapped(yaw))}°`, `pitch ${Math.round(pitch)}°`];
    if (zoom > 1) words.push(`${zoom.toFixed(1)}×`);
    if (this.strip && !this.complete) words.push(`${this.count} of ${this.pictures.length}`);
    this.readout.textContent = words.join(" · ");
    this.element.setAttribute("aria-label", ["Head", this.hint.textContent, ...words].filter(Boolean).join(": "));
  }

  turn(yaw, pitch, event) {
    const tilt = this.strip ? Math.max(...this.strip.pitches) : this.value("tilt");
    setWidgets(this.node, { yaw: wrapped(yaw), pitch: between(-tilt, pitch, tilt) }, event);
    this.draw();
  }

  zoom(factor, event) {
    setWidgets(this.node, { zoom: this.value("zoom") * factor }, event);
    this.draw();
  }

  play() {
    if (this.playing) return this.pause();
    this.button.textContent = "❚❚";
    this.button.setAttribute("aria-label", "Pause");
    const [start, from] = [performance.now(), this.value("yaw")];
    const step = (now) => {
      if (!this.element.isConnected) return this.pause();
      this.yaw = wrapped(from + (360 * (now - start)) / 1000 / Math.max(0.5, this.value("seconds")));
      this.draw(this.yaw);
      this.playing = requestAnimationFrame(step);
    };
    this.playing = requestAnimationFrame(step);
  }

  /** Stops, at what is shown: only then the widgets change, so that undo takes it back at once. */
  pause(event) {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.button.textContent = "▶";
    this.button.setAttribute("aria-label", "Play");
    if (this.yaw !== undefined) this.turn(Math.round(this.yaw), this.value("pitch"), event);
  }

  listen() {
    const { element } = this;
    let drag = null;
    this.button.addEventListener("pointerdown", (event) => event.stopPropagation());
    this.button.addEventListener("dblclick", (event) => event.stopPropagation());
    this.button.addEventListener("click", () => this.play());
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.stopPropagation();
      this.pause(event);
      element.focus({ preventScroll: true });
      element.setPointerCapture(event.pointerId);
      element.classList.add("dragging");
      const [x, y] = [event.clientX, event.clientY];
      drag = { id: event.pointerId, x, y, yaw: this.value("yaw"), pitch: this.value("pitch") };
    });
    element.addEventListener("pointermove", (event) => {
      if (event.pointerId !== drag?.id) return;
      event.stopPropagation();
      const degrees = DEGREES_PER_FRAME / this.canvas.getBoundingClientRect().height / this.value("zoom");
      // The face follows the pointer, so the camera goes the other way round.
      const [right, down] = [event.clientX - drag.x, event.clientY - drag.y];
      this.turn(rounded(drag.yaw - right * degrees, 1), rounded(drag.pitch + down * degrees, 1), event);
    });
    const release = (event) => {
      if (event.pointerId !== drag?.id) return;
      drag = null;
      element.classList.remove("dragging");
    };
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) element.addEventListener(name, release);
    element.addEventListener("dblclick", (event) => {
      event.stopPropagation();
      setWidgets(this.node, FRONT, event);
      this.draw();
    });
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target !== element) return;
      const arrow = KEYS[event.key];
      const factor = { "+": 1 / ZOOM_PER_NOTCH, "=": 1 / ZOOM_PER_NOTCH, "-": ZOOM_PER_NOTCH }[event.key];
      if (!arrow && !factor && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === " ") this.play();
      else if (factor) this.zoom(factor, event);
      else {
        const step = event.shiftKey ? 1 : 360 / (this.strip?.views ?? 36);
        this.turn(rounded(this.value("yaw") + arrow[0] * step, 1), this.value("pitch") + arrow[1] * step, event);
      }
    });
    takeWheel(element, (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.zoom(ZOOM_PER_NOTCH ** notchesOf(event), event);
    });
    canvasGetsMiddleButton(element);
  }
}

function addTurntable(node) {
  const viewer = new Turntable(node);
  viewers.set(node, viewer);
  const redraw = () => viewer.playing || viewer.draw();
  for (const name of Object.keys(FRONT)) {
    const widget = findWidget(node, name);
    if (widget) after(widget, "callback", redraw);
  }
  after(node, "onConfigure", redraw);
  const { onExecuted } = node;
  node.onExecuted = function (output, ...rest) {
    const result = onExecuted?.call(this, output, ...rest);
    viewer.show(output);
    return result;
  };
  // After undo, a change of tab or a new page the output is there already.
  new ResizeObserver(() => {
    if (!viewer.complete) viewer.show(keptOutput(node));
    redraw();
  }).observe(viewer.element);
  addElement(node, "turntable", "Turn the head", viewer.element, SMALLEST);
}

app.registerExtension({
  name: "DualEnc.Turntable",
  setup() {
    addStyles();
    api.addEventListener(EVENT, ({ detail }) => {
      const node = nodeOf(detail?.node);
      if (node) viewers.get(node)?.receive(detail);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE) addTurntable(node);
  },
});
