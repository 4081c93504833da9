/**
 * Visits a running ComfyUI with a real browser and says what it saw.
 *
 * In (stdin): {url, playwright, chromium, nodes2, pack, templates: [name], screenshots, label}, all paths absolute.
 * Out (stdout): one JSON object; test_browser.py judges it. Anything unexpected is an exception and exit code 1.
 */

import { readFileSync } from "node:fs";
import { apps, blueprints, colourChecks, everyNode, helpPage, padChecks, reportChecks, templates } from "./checks.mjs";
import { openPage } from "./page.mjs";
import { turntableChecks } from "./turntable.mjs";

const job = JSON.parse(readFileSync(0, "utf8"));
const { browser, page, seen } = await openPage(job, { width: 1500, height: 950 });
try {
  const shot = (name) => page.screenshot({ path: `${job.screenshots}/${job.label}-${name}.png` });
  const visit = { page, job, shot };
  const result = {
    templates: await templates(visit),
    pad: await padChecks(visit),
    report: await reportChecks(visit),
    help: await helpPage(visit),
    nodes: await everyNode(visit),
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
