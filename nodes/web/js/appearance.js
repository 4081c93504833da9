/** How the pack looks among others: a colour for each of its data types, and its templates in the order of their names
 * and at a scale that can be read. */

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
  afterConfigureGraph() {
    colourLinks();
    restoreView();
  },
});
