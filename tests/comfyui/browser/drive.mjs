/**
 * Visits a running ComfyUI with a real browser and says what it saw.
 *
 * In (stdin): {url, playwright, chromium, nodes2, pack, templates: [name], screenshots, label}, all paths absolute.
 * Out (stdout): one JSON object; test_browser.py judges it. Anything unexpected is an exception and exit code 1.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { apps, blueprints, colourChecks, helpPage, padChecks, reportChecks, templates } from "./checks.mjs";
import { turntableChecks } from "./turntable.mjs";

const START = 180_000;

const job = JSON.parse(readFileSync(0, "utf8"));
const { chromium } = createRequire(`${job.playwright}/`)("playwright-core");

const browser = await chromium.launch({ executablePath: job.chromium, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const context = await browser.newContext({ viewport: { width: 1500, height: 950 }, hasTouch: true });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const seen = { errors: [], failed: [] };
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

  const shot = (name) => page.screenshot({ path: `${job.screenshots}/${job.label}-${name}.png` });
  const visit = { page, job, shot };
  const result = {
    templates: await templates(visit),
    pad: await padChecks(visit),
    report: await reportChecks(visit),
    help: await helpPage(visit),
    colours: await colourChecks(visit),
    blueprints: await blueprints(visit),
    apps: await apps(visit),
    turntable: await turntableChecks(visit),
    ...seen,
  };
  process.stdout.write(JSON.stringify(result));
} finally {
  await browser.close();
}
