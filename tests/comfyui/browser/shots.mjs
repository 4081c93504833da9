/**
 * Pictures of workflows as a person sees them: opened, run, and as apps.
 *
 * In (stdin): {url, playwright, chromium, nodes2, pack, templates: [name], screenshots, label, width, height, quick,
 * apps}. Out (stdout): {name: {seconds, error, prompt, shown}}; `shown` says of each node with a result where it is in
 * pixels and which pictures it shows.
 */

import { readFileSync } from "node:fs";
import { settle } from "./checks.mjs";
import { openPage } from "./page.mjs";

const RUN = 1_500_000;
// Of one step; a machine without a graphics card draws 3D slowly.
const STEP = 300_000;
// What takes long and takes no more room on the screen when it is done well.
const QUICK = {
  DualEncAnimate: { seconds: 0.2, quality: "draft" },
  DualEncMesh: { resolution: 96 },
  DualEncMorph: { frames: 4, quality: "draft" },
  DualEncOptimize: { steps: 1, tune_steps: 1 },
  DualEncOrbit: { frames: 4 },
  DualEncRender: { quality: "draft" },
  DualEncSplat: { count: 20_000 },
  DualEncTurntable: { views: 12, rows: 1 },
  KSampler: { steps: 1 },
  RenderMesh: { width: 256, height: 256 },
  RenderSplat: { width: 256, height: 256 },
};

const job = JSON.parse(readFileSync(0, "utf8"));
const { browser, page } = await openPage(job, { width: job.width, height: job.height });
page.setDefaultTimeout(STEP);

/** Waits until no picture or video on the page is still being loaded, at most a minute. */
async function painted() {
  const loaded = () => {
    // The node's element comes some time after the output.
    const awaited = app.graph.nodes.filter((node) => app.nodeOutputs[node.id]?.animated?.[0]).length;
    const videos = [...document.querySelectorAll("video")].filter((video) => video.readyState >= 2).length;
    return [...document.images].every((image) => image.complete) && videos >= awaited;
  };
  await page.waitForFunction(loaded, null, { timeout: 60_000 }).catch(() => {});
  await page.waitForTimeout(1500);
  await settle(page);
}

/** Queues what is open and waits for its end: {seconds, error}. */
async function run() {
  await page.evaluate(() => {
    window.ended = null;
    const end = (error) => () => (window.ended ??= { error });
    app.api.addEventListener("execution_success", end(null), { once: true });
    const failed = (event) => (window.ended ??= { error: `${event.detail.node_type}: ${event.detail.exception_message}` });
    app.api.addEventListener("execution_error", failed, { once: true });
  });
  const start = Date.now();
  await page.evaluate(async () => {
    const queued = await app.queuePrompt(0, 1);
    if (!queued) window.ended = { error: JSON.stringify(app.lastNodeErrors) };
  });
  await page.waitForFunction(() => window.ended, null, { timeout: RUN });
  return { seconds: (Date.now() - start) / 1000, ...(await page.evaluate(() => window.ended)) };
}

/** Sets widgets of node types. */
function set(values) {
  for (const node of app.graph.nodes) {
    for (const widget of node.widgets ?? []) {
      const value = values[node.type]?.[widget.name];
      if (value !== undefined) widget.value = value;
    }
  }
}

/** Where nodes with results are on the screen: {title: [left, top, right, bottom]}. */
const places = () =>
  page.evaluate(() => {
    const { scale, offset } = app.canvas.ds;
    const nodes = app.graph.nodes.filter((node) => node.imgs?.length || app.nodeOutputs[node.id]);
    const box = ({ pos, size }) => [pos[0], pos[1] - 30, pos[0] + size[0], pos[1] + size[1]];
    const pixels = (value, i) => Math.round((value + offset[i % 2]) * scale);
    return Object.fromEntries(nodes.map((node) => [node.title, box(node).map(pixels)]));
  });

const seen = {};
try {
  for (const name of job.templates) {
    const path = `/api/workflow_templates/${encodeURIComponent(job.pack)}/${encodeURIComponent(name)}.json`;
    const graph = await (await fetch(`${job.url}${path}`)).json();
    await page.evaluate((data) => app.loadGraphData(data), graph);
    await settle(page);
    if (job.quick) await page.evaluate(set, QUICK);
    await page.keyboard.press("Escape");
    const facts = await run();
    await painted();
    await page.screenshot({ path: `${job.screenshots}/${job.label}-${name}.png` });
    seen[name] = { ...facts, shown: await places() };
    if (job.apps && graph.extra.linearData) await openAsApp(name);
  }
  process.stdout.write(JSON.stringify(seen));
} finally {
  await browser.close();
}

/** The open workflow as an app, with the results of its run. */
async function openAsApp(name) {
  const known = await page.evaluate(() =>
    app.extensionManager.command.commands?.some((command) => command.id === "Comfy.ToggleLinear"),
  );
  if (!known) return;
  const toggle = () => page.evaluate(() => app.extensionManager.command.execute("Comfy.ToggleLinear"));
  await toggle();
  await page.waitForTimeout(2000);
  const skip = page.getByText("Skip", { exact: true });
  if (await skip.count()) await skip.first().click();
  await painted();
  await page.screenshot({ path: `${job.screenshots}/${job.label}-${name}-app.png` });
  await toggle();
  await page.waitForTimeout(500);
}
