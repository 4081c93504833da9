/** Shows what a node reports: the text and the warnings of its last run, or the sentence of its error. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addElement, addStyles, canvasGetsMiddleButton, fitNode, makePart } from "./widgets.js";

const NODES = {
  DualEncAlignPortrait: { height: 116, empty: "The report on the face appears here." },
  DualEncCompare: { height: 64, empty: "The figures appear here." },
  DualEncConvert: { height: 90, empty: "What the file holds appears here." },
  DualEncSaveMesh: { height: 52, empty: "The name of the file appears here." },
  DualEncSaveTriplane: { height: 40, empty: "The name of the file appears here." },
};
// One line, until there is more to say.
const EMPTY_HEIGHT = 30;

const strings = (value) => (Array.isArray(value) ? value : []).filter((line) => typeof line === "string" && line);

/** The outputs that ComfyUI keeps for a node, also after undo or a change of tab. */
export function keptOutput(node) {
  const inside = node.graph && node.graph.isRootGraph === false;
  return app.nodeOutputs?.[inside ? `${node.graph.id}:${node.id}` : String(node.id)];
}

/** The node of an id as the server has it: "3", or "5:3" for node 3 inside the subgraph of node 5. */
export function nodeOf(executionId) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const part of String(executionId).split(":")) {
    node = graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node;
}

const reports = new WeakMap();

function addReport(node, { height, empty }) {
  const element = Object.assign(document.createElement("div"), { className: "dualenc-report", tabIndex: 0 });
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
  const room = { height: EMPTY_HEIGHT };
  const fill = (parts) => {
    element.replaceChildren(...(parts.length ? parts : [makePart("empty", empty)]));
    const wanted = parts.length ? height : EMPTY_HEIGHT;
    if (wanted <= room.height) return;
    room.height = wanted;
    element.style.minHeight = `${wanted}px`;
    fitNode(node);
  };
  let shown;
  const report = {
    show(output) {
      if (output === shown) return;
      shown = output;
      const [warnings, texts] = [strings(output?.dualenc_warnings), strings(output?.text)];
      fill([...warnings.map((line) => makePart("warning", line)), ...texts.map((line) => makePart("text", line))]);
    },
    fail(sentence) {
      shown = undefined;
      fill([makePart("error", sentence)]);
    },
  };
  element.style.minHeight = `${EMPTY_HEIGHT}px`;
  fill([]);
  new ResizeObserver(() => {
    const kept = keptOutput(node);
    if (kept && !element.querySelector('[data-part="error"]')) report.show(kept);
  }).observe(element);
  addElement(node, "report_text", "Report", element, () => room.height);
  reports.set(node, report);
}

/** Shows a node's output in its report, and warnings as a toast too: a node without a report has only that. */
function listen(node) {
  let warned = "";
  const { onExecuted } = node;
  node.onExecuted = function (output, ...rest) {
    const result = onExecuted?.call(this, output, ...rest);
    reports.get(node)?.show(output);
    const detail = strings(output?.dualenc_warnings).join("\n");
    // Cached nodes report again with every run; the same words twice would be noise.
    if (detail && detail !== warned) {
      app.extensionManager?.toast?.add({ severity: "warn", summary: node.title, detail, life: 10000 });
    }
    warned = detail;
    return result;
  };
}

app.registerExtension({
  name: "DualEnc.Report",
  setup() {
    addStyles();
    api.addEventListener("execution_error", ({ detail }) => {
      const sentence = detail?.exception_message?.trim();
      if (sentence) reports.get(nodeOf(detail.node_id))?.fail(sentence);
    });
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("DualEnc")) return;
    if (Object.hasOwn(NODES, node.comfyClass)) addReport(node, NODES[node.comfyClass]);
    listen(node);
  },
});
