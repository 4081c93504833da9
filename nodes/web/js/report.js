/** Shows what a node reports: the text and the warnings of its last run. */

import { app } from "../../../scripts/app.js";
import { addElement, addStyles, canvasGetsMiddleButton, makePart } from "./widgets.js";

const NODES = {
  DualEncAlignPortrait: { height: 116, empty: "The report on the face appears here." },
  DualEncCompare: { height: 64, empty: "The figures appear here." },
  DualEncSaveMesh: { height: 52, empty: "The name of the file appears here." },
  DualEncSaveTriplane: { height: 40, empty: "The name of the file appears here." },
};

const strings = (value) => (Array.isArray(value) ? value : []).filter((line) => typeof line === "string" && line);

/** The outputs that ComfyUI keeps for a node, also after undo or a change of tab. */
function keptOutput(node) {
  const inside = node.graph && node.graph.isRootGraph === false;
  return app.nodeOutputs?.[inside ? `${node.graph.id}:${node.id}` : String(node.id)];
}

function addReport(node, { height, empty }) {
  const element = Object.assign(document.createElement("div"), { className: "dualenc-report", tabIndex: 0 });
  element.style.minHeight = `${height}px`;
  element.setAttribute("role", "log");
  element.setAttribute("aria-label", `Report of ${node.title}`);
  element.dataset.captureWheel = "true";
  element.addEventListener("pointerdown", (event) => event.button === 0 && event.stopPropagation());
  element.addEventListener(
    "wheel",
    (event) => {
      const scrolls = element.scrollHeight > element.clientHeight && element.contains(document.activeElement);
      if (scrolls) event.stopPropagation();
      else if (!element.closest("[data-node-id]")) {
        // In the classic canvas the node is not this element's parent.
        event.preventDefault();
        app.canvas.processMouseWheel(event);
      }
    },
    { passive: false },
  );
  canvasGetsMiddleButton(element);
  let shown;
  const show = (output) => {
    if (output === shown) return;
    shown = output;
    const [texts, warnings] = [strings(output?.text), strings(output?.dualenc_warnings)];
    const lines = warnings.map((line) => makePart("warning", line)).concat(texts.map((line) => makePart("text", line)));
    element.replaceChildren(...(lines.length ? lines : [makePart("empty", empty)]));
    return warnings;
  };

  let warned = "";
  const { onExecuted } = node;
  node.onExecuted = function (output, ...rest) {
    const result = onExecuted?.call(this, output, ...rest);
    const detail = (show(output) ?? []).join("\n");
    // Cached nodes report again with every run; the same words twice would be noise.
    if (detail && detail !== warned) {
      app.extensionManager?.toast?.add({ severity: "warn", summary: node.title, detail, life: 10000 });
    }
    warned = detail;
    return result;
  };
  element.append(makePart("empty", empty));
  new ResizeObserver(() => {
    const kept = keptOutput(node);
    if (kept) show(kept);
  }).observe(element);
  addElement(node, "report_text", element, height);
}

app.registerExtension({
  name: "DualEnc.Report",
  setup: addStyles,
  nodeCreated(node) {
    if (Object.hasOwn(NODES, node.comfyClass)) addReport(node, NODES[node.comfyClass]);
  },
});
