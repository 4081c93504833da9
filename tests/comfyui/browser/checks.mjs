/** What drive.mjs does on the page. Each check returns plain facts. */

const PAD = ".dualenc-pad";

/** Waits for two painted frames, so that what a change caused is on the screen. */
export const settle = (page) =>
  page.evaluate(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60)))),
  );

/** Replaces the graph by one new node for each [type, x, y]; their ids. */
export async function onlyNodes(page, nodes) {
  const ids = await page.evaluate(async (list) => {
    const empty = { last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], extra: {}, version: 0.4 };
    await app.loadGraphData(empty);
    const made = list.map(([type, x, y]) => {
      const node = LiteGraph.createNode(type);
      node.pos = [x, y];
      app.graph.add(node);
      return String(node.id);
    });
    // Loaded again, so that undo starts from here.
    await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())));
    return made;
  }, nodes);
  // A loaded graph is first brought into view.
  await settle(page);
  await page.evaluate(() => {
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = 120;
    app.canvas.ds.offset[1] = 120;
    app.canvas.setDirty(true, true);
  });
  await settle(page);
  return ids;
}

export async function padChecks({ page, job, shot }) {
  const [id] = await onlyNodes(page, [["DualEncCamera", 0, 0]]);
  await page.waitForSelector(PAD, { state: "visible" });
  const pad = page.locator(PAD);
  const box = () => pad.boundingBox();
  const middle = async () => {
    const { x, y, width, height } = await box();
    return [x + width / 2, y + height / 2];
  };
  const look = async () => {
    await settle(page);
    return page.evaluate((key) => {
      const node = app.graph.getNodeById(Number(key));
      const values = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
      const pad = document.querySelector(".dualenc-pad");
      return {
        ...values,
        text: pad.innerText.trim(),
        label: pad.getAttribute("aria-label"),
        glyph: [...pad.querySelectorAll("path")].map((path) => path.getAttribute("d")).join(" "),
        scale: app.canvas.ds.scale,
        position: [...node.pos],
      };
    }, id);
  };
  const prompt = () => page.evaluate(async (key) => (await app.graphToPrompt()).output[key].inputs, id);
  const drag = async (dx, dy) => {
    const [x, y] = await middle();
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + dx / 2, y + dy / 2);
    await page.mouse.move(x + dx, y + dy);
    await page.mouse.up();
  };
  const facts = { fresh: await look() };
  const { height, width } = await box();
  facts.size = [width, height];

  await drag(-40, 12);
  facts.dragged = await look();
  facts.draggedPrompt = await prompt();
  await shot("pad");
  await page.keyboard.press("Control+z");
  await page.waitForTimeout(400);
  facts.undone = await look();
  await drag(-40, 12);

  // Without focus: in Nodes 2.0 the wheel is then the canvas's, unless the pad takes it.
  await pad.blur();
  await page.mouse.move(...(await middle()));
  await page.mouse.wheel(0, 200);
  facts.wheeled = await look();
  facts.wheeledPrompt = await prompt();

  await pad.focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Shift+ArrowDown");
  facts.keyed = await look();

  await page.mouse.dblclick(...(await middle()));
  facts.doubleClicked = await look();

  await drag(-200, 400);
  facts.far = await look();
  for (let i = 0; i < 4; i++) await drag(-100, 0);
  facts.wrapped = await look();
  await page.mouse.dblclick(...(await middle()));

  const touch = await page.context().newCDPSession(page);
  const [x, y] = await middle();
  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [{ x, y }] });
  await touch.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: [{ x: x + 15, y: y - 5 }] });
  await touch.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: [{ x: x + 30, y: y - 10 }] });
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  facts.touched = await look();

  await typeYaw(page, job, id, "-75");
  facts.typed = await look();

  facts.saved = await page.evaluate(
    (key) => app.graph.serialize().nodes.find((node) => String(node.id) === key).widgets_values,
    id,
  );
  facts.reloaded = await page.evaluate(async (key) => {
    const graph = app.graph.serialize();
    graph.nodes.find((node) => String(node.id) === key).widgets_values[0] = 110;
    await app.loadGraphData(JSON.parse(JSON.stringify(graph)));
  }, id).then(look);

  await page.evaluate((key) => {
    const node = LiteGraph.createNode("PrimitiveFloat");
    node.pos = [330, 0];
    app.graph.add(node);
    const camera = app.graph.getNodeById(Number(key));
    node.connect(0, camera, camera.inputs.findIndex((input) => input.name === "yaw"));
  }, id);
  await drag(30, 20);
  facts.linkedYaw = await look();

  await page.evaluate((key) => {
    const node = LiteGraph.createNode("Reroute");
    node.pos = [330, 150];
    app.graph.add(node);
    const camera = app.graph.getNodeById(Number(key));
    node.connect(0, camera, camera.inputs.findIndex((input) => input.name === "camera_info"));
  }, id);
  await drag(30, 20);
  facts.linkedCamera = await look();
  await shot("pad-linked");
  await page.mouse.wheel(0, -100);
  facts.linkedWheel = await look();

  await onlyNodes(page, [["DualEncCamera", 0, 0], ["DualEncCamera", 330, 0], ["DualEncCamera", 660, 0]]);
  await page.evaluate(() => {
    const poses = [{ yaw: 35, pitch: 15 }, { yaw: 150, pitch: -12, roll: 10 }, { yaw: -80, radius: 3.6 }];
    app.graph.nodes.forEach((node, i) => {
      for (const [name, value] of Object.entries(poses[i])) {
        const widget = node.widgets.find((one) => one.name === name);
        widget.value = value;
        widget.callback?.(value);
      }
    });
  });
  for (const theme of ["light", "dark"]) {
    await page.evaluate((name) => app.extensionManager.setting.set("Comfy.ColorPalette", name), theme);
    await page.waitForTimeout(300);
    await shot(`pads-${theme}`);
  }
  facts.points = await page.evaluate(async (url) => {
    const { cameraAxes } = await import(url);
    return [[0, 0, 0], [25, 4, 0], [-130, 35, 20], [170, -60, -45]].map(([yaw, pitch, roll]) => {
      const { right, up, back } = cameraAxes({ yaw, pitch, roll });
      return { pose: [yaw, pitch, roll], right, up, back };
    });
  }, `/extensions/${job.pack}/js/head_glyph.js`);
  return facts;
}

/** Types into the yaw widget as a person does. */
async function typeYaw(page, job, id, value) {
  if (job.nodes2) {
    const input = page.locator(`[data-node-id="${id}"] input`).first();
    // What lies over the input hands a click on to it.
    await input.click({ force: true });
    await input.fill(value);
    await input.press("Enter");
    await input.blur();
    return;
  }
  const [x, y] = await page.evaluate((key) => {
    const node = app.graph.getNodeById(Number(key));
    const widget = node.widgets.find((one) => one.name === "yaw");
    const { scale, offset } = app.canvas.ds;
    const frame = app.canvas.canvas.getBoundingClientRect();
    const at = [node.pos[0] + node.size[0] / 2, node.pos[1] + (widget.last_y ?? widget.y) + 10];
    return [frame.left + (at[0] + offset[0]) * scale, frame.top + (at[1] + offset[1]) * scale];
  }, id);
  await page.mouse.click(x, y);
  const dialog = page.locator(".graphdialog input");
  await dialog.fill(value);
  await dialog.press("Enter");
}

export async function reportChecks({ page, job, shot }) {
  const [first, second, compare, align, save] = await onlyNodes(page, [
    ["EmptyImage", 0, 0],
    ["EmptyImage", 0, 220],
    ["DualEncCompare", 330, 0],
    ["DualEncAlignPortrait", 660, 0],
    ["DualEncSaveTriplane", 330, 330],
  ]);
  const before = await page.locator(".dualenc-report").allInnerTexts();
  const emptyHeights = await page.evaluate(() =>
    [...document.querySelectorAll(".dualenc-report")].map((element) => element.offsetHeight),
  );
  // The other two lack what they need; a run takes the nodes that can run.
  await page.evaluate(([a, b, c]) => {
    const node = (id) => app.graph.getNodeById(Number(id));
    const set = (id, name, value) => (node(id).widgets.find((widget) => widget.name === name).value = value);
    set(b, "color", 0x404040);
    for (const id of [a, b]) for (const name of ["width", "height"]) set(id, name, 64);
    node(a).connect(0, node(c), 0);
    node(b).connect(0, node(c), 1);
  }, [first, second, compare]);
  const prompt = await page.evaluate(async () => (await app.graphToPrompt()).output);
  const saved = await page.evaluate(
    (ids) => ids.map((id) => app.graph.serialize().nodes.find((n) => String(n.id) === id).widgets_values),
    [compare, align, save],
  );
  const inputs = { compare: prompt[compare].inputs, align: prompt[align].inputs, save: prompt[save].inputs };
  await page.evaluate((ids) => ids.forEach((id) => (app.graph.getNodeById(Number(id)).mode = 2)), [align, save]);
  await page.evaluate(() => app.queuePrompt(0, 1));
  await page.locator(".dualenc-report", { hasText: "PSNR" }).waitFor({ timeout: 120_000 });
  const reports = await page.locator(".dualenc-report").allInnerTexts();
  await page.evaluate((ids) => {
    for (const id of ids) app.graph.getNodeById(Number(id)).mode = 0;
    app.canvas.setDirty(true, true);
  }, [align, save]);

  const executed = (id, output) =>
    page.evaluate(
      ([node, said]) => {
        const detail = { node, display_node: node, prompt_id: "test", output: said };
        app.api.dispatchEvent(new CustomEvent("executed", { detail }));
      },
      [id, output],
    );
  const warning = "the face is 64 pixels wide; the head will be blurred";
  const output = { text: ["1 face\nyaw 12.3°, pitch -4.0°"], dualenc_warnings: [warning] };
  await executed(align, output);
  await executed(align, { ...output });
  await executed(save, { text: ["dualenc/head_00001_.safetensors"] });
  await page.waitForTimeout(500);
  const toasts = await page.evaluate(
    (words) =>
      [...document.querySelectorAll("body *")].filter(
        (e) =>
          !e.children.length &&
          !e.closest(".dualenc-report") &&
          e.textContent.includes(words) &&
          e.getBoundingClientRect().width > 20,
      ).length,
    warning,
  );
  const amber = await page.evaluate(() => {
    const line = document.querySelector('.dualenc-report [data-part="warning"]');
    return { text: line?.innerText, colour: line && getComputedStyle(line).borderLeftColor };
  });
  const after = await page.locator(".dualenc-report").allInnerTexts();
  await shot("report");
  await executed(align, { text: ["1 face"], dualenc_warnings: [] });
  const cleared = await page.locator('.dualenc-report [data-part="warning"]').count();
  const fail = (id, sentence) =>
    page.evaluate(
      ([node, words]) => {
        const detail = {
          node_id: node,
          node_type: "DualEncAlignPortrait",
          prompt_id: "test",
          executed: [],
          exception_type: "NoFaceError",
          exception_message: words,
          traceback: [],
          current_inputs: {},
          current_outputs: [],
        };
        app.api.dispatchEvent(new CustomEvent("execution_error", { detail }));
      },
      [id, sentence],
    );
  await fail(align, "no face was found in the 300×200 photo\n");
  await page.waitForTimeout(300);
  const error = await page.evaluate(() => {
    const line = document.querySelector('.dualenc-report [data-part="error"]');
    return { text: line?.innerText, colour: line && getComputedStyle(line).borderLeftColor };
  });
  await shot("error");
  await page.keyboard.press("Escape");
  await executed(align, { text: ["1 face"], dualenc_warnings: [] });
  const errorGone = (await page.locator('.dualenc-report [data-part="error"]').count()) === 0;
  return { before, emptyHeights, inputs, saved, reports, after, toasts, amber, cleared, error, errorGone, nodes2: job.nodes2 };
}

/** Colours of our data types: of links, of slots in Nodes 2.0, and after a change of the palette. */
export async function colourChecks({ page }) {
  const types = ["GENERATOR", "ENCODER", "TRIPLANE", "MASK", "CAMERA"].map((name) => `DUALENC_${name}`);
  const links = () =>
    page.evaluate(
      (names) => Object.fromEntries(names.map((name) => [name, app.canvas.constructor.link_type_colors[name] || null])),
      types,
    );
  const slots = await page.evaluate((names) => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--color-datatype-${name}`).trim()]));
  }, types);
  const before = await links();
  await page.evaluate(() => app.extensionManager.setting.set("Comfy.ColorPalette", "light"));
  await page.waitForTimeout(500);
  const afterPalette = await links();
  await page.evaluate(() => app.extensionManager.setting.set("Comfy.ColorPalette", "dark"));
  return { links: before, slots, afterPalette };
}

/** Opens the help of DualEnc Render as the selection's info button does. */
export async function helpPage({ page, job, shot }) {
  const address = `${job.url}/extensions/${job.pack}/docs/DualEncRender.md`;
  const answer = await fetch(address);
  const source = await answer.text();
  const [id] = await onlyNodes(page, [["DualEncRender", 60, 60]]);
  await page.evaluate((key) => app.canvas.selectNode(app.graph.getNodeById(Number(key))), id);
  const button = page.locator('[data-testid="info-button"], .selection-toolbox .pi-question-circle').first();
  await button.waitFor({ state: "visible" });
  await button.click();
  const heading = page.locator(".node-help-content h1").first();
  await heading.waitFor({ state: "visible" });
  await page.waitForTimeout(800);
  await shot("help");
  return {
    status: answer.status,
    source,
    heading: await heading.innerText(),
    words: await page.locator(".node-help-content").first().innerText(),
    pictures: await page.evaluate(() =>
      [...document.querySelectorAll(".node-help-content img")].map(({ src, naturalWidth: width }) => ({ src, width })),
    ),
  };
}

/** Puts every node of the pack on the canvas; what is drawn of it, and its help page. */
export async function everyNode({ page, job, shot }) {
  const types = await page.evaluate(() =>
    Object.keys(LiteGraph.registered_node_types).filter((type) => type.startsWith("DualEnc")).sort(),
  );
  const ids = await onlyNodes(page, types.map((type, i) => [type, 380 * (i % 8), 1250 * Math.floor(i / 8)]));
  await page.evaluate(() => app.extensionManager.command.execute("Comfy.Canvas.FitView"));
  await page.waitForTimeout(800);
  await shot("every-node");
  const nodes = await page.evaluate(
    ([keys, vue]) =>
      keys.map((key) => {
        const node = app.graph.getNodeById(Number(key));
        const seen = (node.widgets ?? []).filter((w) => !w.options?.advanced && !w.options?.hidden && !w.element);
        // Nodes 2.0 has a button for what happens after a run.
        const names = seen.map((widget) => widget.label || widget.name).filter((name) => !/^control.after/.test(name));
        const words = document.querySelector(`[data-node-id="${key}"]`)?.innerText ?? "";
        const missing = vue ? [node.title, ...names].filter((name) => !words.includes(name)) : [];
        return { type: node.type, title: node.title, size: [...node.size], missing };
      }),
    [ids, job.nodes2],
  );
  for (const [i, id] of ids.entries()) nodes[i].help = await helpOf(page, id, `${job.url}/extensions/${job.pack}/docs`);
  return nodes;
}

/** What the help panel shows of a node: {heading, expected, wide: cells that do not fit, pictures that are not there}. */
async function helpOf(page, id, folder) {
  const type = await page.evaluate((key) => {
    const node = app.graph.getNodeById(Number(key));
    app.canvas.selectNode(node);
    app.canvas.ds.scale = 1;
    // Between the help panel of older frontends, on the left, and that of newer ones.
    app.canvas.ds.offset = [700 - node.pos[0], 160 - node.pos[1]];
    app.canvas.setDirty(true, true);
    return node.type;
  }, id);
  const source = await (await fetch(`${folder}/${type}.md`)).text();
  const expected = /^# (.+)$/m.exec(source)[1];
  const heading = page.locator(".node-help-content h1", { hasText: expected }).first();
  const there = (timeout) => heading.waitFor({ state: "visible", timeout }).then(() => true).catch(() => false);
  if (!(await there(700))) {
    await page.locator('[data-testid="info-button"], .selection-toolbox .pi-question-circle').first().click();
    await there(5000);
  }
  return page.evaluate(async (wanted) => {
    const content = document.querySelector(".node-help-content");
    const images = [...content.querySelectorAll("img")];
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    const { right } = content.getBoundingClientRect();
    const wide = [...content.querySelectorAll("td")].filter((cell) => cell.getBoundingClientRect().right > right + 1);
    return {
      heading: content.querySelector("h1")?.innerText,
      expected: wanted,
      wide: wide.map((cell) => cell.innerText),
      dead: images.filter((image) => !image.naturalWidth).map((image) => image.src),
    };
  }, expected);
}

/** Loads each shipped workflow as the template list does. */
export async function templates({ page, job, shot }) {
  const listed = await (await fetch(`${job.url}/api/workflow_templates`)).json();
  const loaded = {};
  for (const name of job.templates) {
    const path = `/api/workflow_templates/${encodeURIComponent(job.pack)}/${encodeURIComponent(name)}`;
    const thumbnail = await fetch(`${job.url}${path}.jpg`);
    const picture = await thumbnail.arrayBuffer(); // an unread body keeps the process alive
    const graph = await (await fetch(`${job.url}${path}.json`)).json();
    const missing = await page.evaluate(async (data) => {
      await app.loadGraphData(data, true, true, null, { openSource: "template" });
      return app.graph.nodes
        .filter((node) => !Object.hasOwn(LiteGraph.registered_node_types, node.type))
        .map((node) => node.type);
    }, graph);
    await settle(page);
    const [scale, marked] = await page.evaluate(() => [app.canvas.ds.scale, "dualenc_template" in app.graph.extra]);
    const prompt = await page.evaluate(async () => (await app.graphToPrompt()).output);
    const note = await noteContrast(page);
    const small = await page.evaluate((saved) => {
      const height = Object.fromEntries(saved.map(({ id, size }) => [id, size[1]]));
      return app.graph.nodes.filter((node) => node.size[1] < height[node.id]).map((node) => node.title);
    }, graph.nodes);
    const dialogs = await page.locator('.p-dialog, [role="dialog"]').allInnerTexts();
    await page.evaluate(() => app.extensionManager.command.execute("Comfy.Canvas.FitView"));
    await page.waitForTimeout(500);
    await shot(name);
    if (dialogs.length) await page.keyboard.press("Escape");
    const shown = [thumbnail.status, picture.byteLength];
    const scales = [scale, graph.extra.ds.scale];
    loaded[name] = { missing, prompt, dialogs, scales, marked, note, small, nodes: graph.nodes.length, thumbnail: shown };
  }
  // As the list of templates asks for them.
  const order = await page.evaluate(async (pack) => (await app.api.getWorkflowTemplates())[pack], job.pack);
  return { listed: listed[job.pack] ?? [], order, loaded };
}

/** How much lighter or darker than what is behind it the text of the open workflow's note is (WCAG), least of its parts. */
function noteContrast(page) {
  return page.evaluate(() => {
    const levels = (colour) => {
      // A canvas understands every way to write a colour.
      const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (colour) =>
      [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => sum + weight * (levels(colour)[i] / 255) ** 2.2, 0);
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = getComputedStyle(at).backgroundColor;
        if (levels(colour)[3] > 200) return colour;
      }
      return "black";
    };
    const text = ":is(h1, p, li, strong, em)";
    const parts = [...document.querySelectorAll(`:is(.comfy-markdown, .comfy-markdown-content) ${text}`)];
    const shown = parts.filter((part) => part.offsetWidth && part.innerText.trim());
    const contrast = (part) => {
      const [a, b] = [luminance(getComputedStyle(part).color), luminance(behind(part))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    };
    return { parts: shown.length, least: Math.min(...shown.map(contrast)) };
  });
}

/** Opens workflows as apps, and steps a number there by a click; null where the frontend has no App mode. */
export async function apps({ page, job, shot }) {
  const known = () => page.evaluate(() => app.extensionManager.command.commands.some((c) => c.id === "Comfy.ToggleLinear"));
  if (!(await known())) return null;
  const toggle = () => page.evaluate(() => app.extensionManager.command.execute("Comfy.ToggleLinear"));
  const seen = {};
  for (const name of job.templates) {
    const path = `/api/workflow_templates/${encodeURIComponent(job.pack)}/${encodeURIComponent(name)}.json`;
    const graph = await (await fetch(`${job.url}${path}`)).json();
    if (!graph.extra.linearData) continue;
    await page.evaluate((data) => app.loadGraphData(data), graph);
    await settle(page);
    await toggle();
    await page.waitForTimeout(1200);
    const skip = page.getByText("Skip", { exact: true });
    if (await skip.count()) await skip.first().click();
    await page.waitForTimeout(300);
    const texts = await page.evaluate(() => document.body.innerText.split("\n").map((line) => line.trim()));
    const lineOf = ([id, widget]) =>
      graph.nodes.find((node) => node.id === id).inputs.find((input) => input.name === widget);
    // A viewer is none of the inputs of its node.
    const lines = graph.extra.linearData.inputs.map(lineOf).filter(Boolean);
    const labels = lines.map(({ label }) => [label, texts.includes(label)]);
    await shot(`app-${name}`);
    seen[name] = { labels, stepped: await step(page, graph) };
    await toggle();
    await page.waitForTimeout(300);
  }
  return seen;
}

/** Clicks + beside the first number of an app; [value before, value after]. */
async function step(page, graph) {
  const find = ([id, widget]) => graph.nodes.find((node) => node.id === id).inputs.find((i) => i.name === widget);
  const number = graph.extra.linearData.inputs.find((entry) => ["INT", "FLOAT"].includes(find(entry)?.type));
  if (!number) return null;
  const value = () =>
    page.evaluate(
      ([id, name]) => app.rootGraph.getNodeById(id).widgets.find((widget) => widget.name === name).value,
      number,
    );
  const before = await value();
  await page.evaluate((label) => {
    const named = [...document.querySelectorAll("body *")].filter((e) => !e.children.length && e.textContent.trim() === label);
    let row = named.at(-1);
    while (row && row.querySelectorAll("button").length < 2) row = row.parentElement;
    [...row.querySelectorAll("button")].at(-1).click();
  }, find(number).label);
  await page.waitForTimeout(300);
  return [before, await value()];
}

/** The subgraph blueprints that the server lists, and the prompts that they make. */
export async function blueprints({ page, job }) {
  const answer = await fetch(`${job.url}/api/global_subgraphs`);
  const listed = answer.ok ? await answer.json() : await answer.text().then(() => null);
  if (listed === null) return null;
  const made = {};
  for (const [id, entry] of Object.entries(listed)) {
    if (!JSON.stringify(entry).includes(job.pack)) continue;
    const { data } = await (await fetch(`${job.url}/api/global_subgraphs/${id}`)).json();
    await page.evaluate((graph) => app.loadGraphData(graph), JSON.parse(data));
    await settle(page);
    const prompt = await page.evaluate(async () => (await app.graphToPrompt()).output);
    const widgets = await page.evaluate(() => (app.rootGraph ?? app.graph).nodes[0].widgets?.map((w) => w.name) ?? []);
    made[entry.name] = { classes: Object.values(prompt).map((node) => node.class_type).sort(), widgets };
  }
  return made;
}
