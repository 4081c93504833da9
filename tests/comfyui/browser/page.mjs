/** A browser with the page of a running ComfyUI. */

import { createRequire } from "node:module";

const START = 180_000;

/**
 * Opens the page and waits until nodes can be put on it.
 *
 * `job` is {url, playwright, chromium, nodes2}; `seen` takes the page's errors and the addresses that failed.
 */
export async function openPage(job, viewport, seen = { errors: [], failed: [] }) {
  const { chromium } = createRequire(`${job.playwright}/`)("playwright-core");
  const browser = await chromium.launch({ executablePath: job.chromium, args: ["--no-sandbox", "--disable-gpu"] });
  try {
    const context = await browser.newContext({ viewport, hasTouch: true });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    page.on("console", (line) => {
      if (line.type() === "error") seen.errors.push({ text: line.text(), url: line.location().url });
    });
    page.on("pageerror", (error) => seen.errors.push({ text: `${error.message}\n${error.stack}`, url: "" }));
    page.on("response", (answer) => answer.status() >= 400 && seen.failed.push(answer.url()));

    const settings = {
      "Comfy.TutorialCompleted": true, // else the templates dialog lies over the canvas
      "Comfy.VueNodes.Enabled": job.nodes2,
      "Comfy.RightSidePanel.IsOpen": false,
      "Comfy.Minimap.Visible": false,
    };
    const stored = await fetch(`${job.url}/settings`, { method: "POST", body: JSON.stringify(settings) });
    await stored.arrayBuffer();
    await page.goto(job.url, { timeout: START });
    await page.waitForFunction(
      () => window.app?.graph && app.extensionManager?.setting && LiteGraph.registered_node_types.DualEncCamera,
      null,
      { timeout: START },
    );
    // The frontend opens its own first graph a little later; ours must come after it.
    await page.waitForFunction(() => window.app.graph.nodes.length > 0, null, { timeout: 20_000 }).catch(() => {});
    await page.evaluate((on) => app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on), job.nodes2);
    return { browser, page, seen };
  } catch (error) {
    await browser.close();
    throw error;
  }
}
