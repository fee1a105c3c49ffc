// Taking the whole diary along, and bringing one in.

import { newId } from "./editor.js";
import { tell } from "./feedback.js";
import { explain } from "./trouble.js";
import { say, sayCount } from "./words.js";

const byId = (id) => document.getElementById(id);

export function offerCarrying(backend, changed) {
  byId("export-json").addEventListener("click", () => backend.exportAs("json"));
  byId("export-markdown").addEventListener("click", () => backend.exportAs("markdown"));
  byId("import-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    byId("menu").open = false;
    if (file) await bringIn(backend, file);
    changed();
  });
}

/** One entry after the other. Each has its clientId, so bringing the same file in twice doubles nothing. */
async function bringIn(backend, file) {
  let entries;
  try {
    ({ entries } = JSON.parse(await file.text()));
    if (!Array.isArray(entries) || !entries.every((entry) => entry.date && entry.body)) throw new Error("no entries");
  } catch {
    tell(say("carry.bad_file"));
    return;
  }
  try {
    for (const [index, { date, title, body, mood, clientId }] of entries.entries()) {
      tell(say("carry.importing", { n: index + 1, all: entries.length }));
      await backend.add({ date, title, body, mood, clientId: clientId || newId() });
    }
    tell(sayCount("carry.imported", entries.length));
  } catch (error) {
    tell(explain(error));
  }
}
