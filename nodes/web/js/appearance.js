/** How the pack looks among others: a colour for each of its data types, and its templates in the order of their names
 * and as they are laid out. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addStyles } from "./widgets.js";

// The same as in dualenc.css, where Nodes 2.0 takes them from.
const COLOURS = {
  DUALENC_GENERATOR: "#b39ddb",
  DUALENC_ENCODER: "#f48fb1",
  DUALENC_TRIPLANE: "#ffb74d",
  DUALENC_MASK: "#81c784",
  DUALENC_CAMERA: "#4fc3f7",
};
const PACK = new URL(import.meta.url).pathname.split("/extensions/")[1]?.split("/")[0];

function colourLinks() {
  const { constructor: Canvas } = app.canvas;
  Object.assign(Canvas.link_type_colors ?? {}, COLOURS);
  Object.assign(app.canvas.default_connection_color_byType ?? {}, COLOURS);
}

/** The server lists templates as its disk does. */
function sortTemplates() {
  const list = api.getWorkflowTemplates;
  if (!PACK || !list) return;
  const name = decodeURIComponent(PACK);
  api.getWorkflowTemplates = async (...given) => {
    const found = await list.apply(api, given);
    return Array.isArray(found?.[name]) ? { ...found, [name]: [...found[name]].sort() } : found;
  };
}

// Sizes of the nodes of a template that is being opened, by id.
let sizes = {};

function keepSizes(graph) {
  const nodes = graph?.extra?.dualenc_template ? graph.nodes : [];
  sizes = Object.fromEntries(nodes.map(({ id, size }) => [id, [...size]]));
}

/** Newer frontends make a node as small as its widgets when those of a dynamic combo come (Save Video), without room for
 * what it shows. */
function restoreSizes() {
  for (const node of app.graph?.nodes ?? []) {
    const size = sizes[node.id];
    if (size && node.size[1] < size[1]) node.setSize(size);
  }
}

/** Templates open as they are laid out, legibly: newer frontends fit the whole of one into the window. The mark goes, or
 * undo, which loads the graph anew, would move the canvas. */
function restoreView() {
  const extra = app.graph?.extra ?? {};
  const { ds, dualenc_template: ours } = extra;
  delete extra.dualenc_template;
  const restores = app.ui?.settings?.getSettingValue?.("Comfy.EnableWorkflowViewRestore");
  if (!ours || !ds || restores === false) return;
  app.canvas.ds.scale = ds.scale;
  app.canvas.ds.offset = [...ds.offset];
  app.canvas.setDirty(true, true);
}

app.registerExtension({
  name: "DualEnc.Appearance",
  init: sortTemplates,
  setup() {
    addStyles();
    colourLinks();
    // A palette knows only the types of ComfyUI, and takes the colours of others away.
    app.ui?.settings?.addEventListener?.("Comfy.ColorPalette.change", () => setTimeout(colourLinks, 0));
  },
  beforeConfigureGraph: keepSizes,
  afterConfigureGraph() {
    colourLinks();
    restoreSizes();
    restoreView();
  },
});
