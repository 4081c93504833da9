/** The viewer of DualEnc Turntable on the page: run, drag, wheel, keys, play, reload. Plain facts. */

import { onlyNodes, settle } from "./checks.mjs";

const VIEWER = ".dualenc-turntable";
const RUN = 240_000;

export async function turntableChecks({ page, job, shot }) {
  const [generator, sample, id] = await onlyNodes(page, [
    ["DualEncLoadPanoHead", 0, 0],
    ["DualEncSample", 0, 160],
    ["DualEncTurntable", 330, 0],
  ]);
  const viewer = page.locator(VIEWER);
  await viewer.waitFor({ state: "visible" });
  await page.evaluate(([loader, head, table]) => {
    const node = (key) => app.graph.getNodeById(Number(key));
    const link = (from, to, name) => from.connect(0, to, to.inputs.findIndex((input) => input.name === name));
    link(node(loader), node(head), "generator");
    link(node(loader), node(table), "generator");
    link(node(head), node(table), "triplane");
    const set = (name, value) => (node(table).widgets.find((widget) => widget.name === name).value = value);
    for (const [name, value] of [["views", 12], ["rows", 3], ["size", 128]]) set(name, value);
    // Else the seed is another one after each run, and with it the head.
    node(head).widgets.find((widget) => widget.name === "control_after_generate").value = "fixed";
  }, [generator, sample, id]);

  const look = async () => {
    await settle(page);
    return page.evaluate((key) => {
      const node = app.graph.getNodeById(Number(key));
      const element = document.querySelector(".dualenc-turntable");
      const canvas = element.querySelector("canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let sum = 0;
      for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + 3 * data[i + 1] + 7 * data[i + 2]) % 1000003;
      return {
        ...Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value])),
        text: element.innerText.trim(),
        label: element.getAttribute("aria-label"),
        shown: Number(element.dataset.shown),
        pictures: Number(element.dataset.pictures),
        sum,
        scale: app.canvas.ds.scale,
        position: [...node.pos],
      };
    }, id);
  };
  const middle = async () => {
    const { x, y, width, height } = await viewer.boundingBox();
    return [x + width / 2, y + height / 2];
  };
  const drag = async (dx, dy, hold = async () => {}) => {
    const [x, y] = await middle();
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + dx / 2, y + dy / 2);
    await page.mouse.move(x + dx, y + dy);
    await hold();
    await page.mouse.up();
  };

  const facts = { empty: await look() };
  // When the run has ended, and how many pictures had come by then.
  await page.evaluate(() => {
    window.turntable = { early: [] };
    const watch = () => {
      const count = Number(document.querySelector(".dualenc-turntable")?.dataset.pictures);
      if (turntable.early.at(-1) !== count) turntable.early.push(count);
      if (!turntable.end) requestAnimationFrame(watch);
    };
    watch();
    app.api.addEventListener("execution_success", () => (turntable.end ??= performance.now()), { once: true });
  });
  await page.evaluate(() => app.queuePrompt(0, 1));
  // Two are enough to see a turn.
  await page.waitForFunction(() => Number(document.querySelector(".dualenc-turntable").dataset.pictures) > 1, null, {
    timeout: RUN,
  });
  const shown = () => Number(document.querySelector(".dualenc-turntable").dataset.shown);
  const before = await page.evaluate(shown);
  await drag(-60, 0, async () => {
    const changed = (was) => Number(document.querySelector(".dualenc-turntable").dataset.shown) !== was;
    await page.waitForFunction(changed, before, { timeout: RUN });
    await page.evaluate(() => (turntable.turned = performance.now()));
  });
  await page.waitForFunction(() => window.turntable.end, null, { timeout: RUN });
  facts.seconds = (await page.evaluate(() => turntable.turned - turntable.end)) / 1000;
  facts.counts = await page.evaluate(() => turntable.early);
  await page.waitForFunction(() => document.querySelector(".dualenc-turntable").dataset.pictures === "36");
  facts.dragged = await look();
  await drag(0, 60, () => shot("turntable-dragging"));
  facts.tilted = await look();
  await drag(0, 400);
  facts.far = await look();
  await viewer.blur();
  await page.mouse.move(...(await middle()));
  await page.mouse.wheel(0, -300);
  facts.wheeled = await look();
  await viewer.focus();
  await page.keyboard.press("ArrowLeft");
  facts.keyed = await look();
  await page.mouse.dblclick(...(await middle()));
  facts.front = await look();

  await viewer.focus();
  await page.keyboard.press("Space");
  const turned = new Set();
  for (let i = 0; i < 12; i++) {
    await page.waitForTimeout(120);
    turned.add(await viewer.getAttribute("data-shown"));
  }
  facts.played = turned.size;
  facts.playing = await look();
  await page.keyboard.press("Space");
  facts.paused = await look();

  // The view goes on, and nothing is made again for it.
  facts.prompt = await page.evaluate(async (key) => (await app.graphToPrompt()).output[key].inputs, id);
  facts.saved = await page.evaluate(
    (key) => app.graph.serialize().nodes.find((node) => String(node.id) === key).widgets_values,
    id,
  );
  facts.again = await page.evaluate(async () => {
    let pictures = 0;
    app.api.addEventListener("dualenc.turntable", () => pictures++);
    const end = new Promise((done) => app.api.addEventListener("execution_success", done, { once: true }));
    await app.queuePrompt(0, 1);
    await end;
    return pictures;
  });

  // The node made anew, as undo and a change of tab do: the pictures come from the file.
  await page.evaluate(async (key) => {
    const kept = app.nodeOutputs[key];
    await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())));
    app.graph.getNodeById(Number(key)).onExecuted(kept);
  }, id);
  await viewer.waitFor({ state: "visible" });
  await page
    .waitForFunction(() => document.querySelector(".dualenc-turntable").dataset.pictures === "36", null, {
      timeout: 10_000,
    })
    .catch(() => {});
  facts.anew = await look();
  await shot("turntable");
  facts.app = await asApp({ page, shot }, id);
  return facts;
}

/** The graph opened as an app whose only input is the viewer; null where the frontend has no App mode. */
async function asApp({ page, shot }, id) {
  const known = await page.evaluate(() =>
    app.extensionManager.command.commands?.some((command) => command.id === "Comfy.ToggleLinear"),
  );
  if (!known) return null;
  await page.evaluate(async (key) => {
    const graph = JSON.parse(JSON.stringify(app.graph.serialize()));
    const set = { linearMode: true, linearData: { inputs: [[Number(key), "turntable"]], outputs: [Number(key)] } };
    await app.loadGraphData({ ...graph, extra: { ...graph.extra, ...set } });
  }, id);
  const viewer = page.locator(`${VIEWER}:visible`);
  await viewer.waitFor({ state: "visible" });
  // A tour lies over the first app that one opens.
  const skip = page.getByRole("button", { name: "Skip" });
  await skip.waitFor({ state: "visible", timeout: 5_000 }).catch(() => {});
  if (await skip.isVisible()) await skip.click();
  const run = page.getByRole("button", { name: "Run", exact: true }).last();
  await run.click();
  await page.waitForFunction(
    (selector) => [...document.querySelectorAll(selector)].some((element) => element.dataset.pictures === "36"),
    VIEWER,
    { timeout: RUN },
  );
  const before = Number(await viewer.getAttribute("data-shown"));
  const { x, y, width, height } = await viewer.boundingBox();
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width / 2 - 70, y + height / 2, { steps: 4 });
  await shot("turntable-app");
  await page.mouse.up();
  await settle(page);
  const facts = { before, after: Number(await viewer.getAttribute("data-shown")), text: await viewer.innerText() };
  // Later checks meet the graph again.
  await page.evaluate(() => app.extensionManager.command.execute("Comfy.ToggleLinear"));
  return facts;
}
