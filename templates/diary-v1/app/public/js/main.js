// The page of the diary: brings its parts together.

import { Calendar } from "./calendar.js";
import { makeCard } from "./card.js";
import { offerCarrying } from "./carry.js";
import { today } from "./dates.js";
import { DRAFTS, makeEditor } from "./editor.js";
import { confirmed, tell } from "./feedback.js";
import { EntryList } from "./list.js";
import * as local from "./local.js";
import * as server from "./server.js";
import { ask, explain } from "./trouble.js";
import { say, sayCount } from "./words.js";

const byId = (id) => document.getElementById(id);
const isLocal = document.documentElement.dataset.mode === "local";
const backend = isLocal ? local : server;

// The key link also works for someone who is already in; the key must not stay in the address.
if (location.hash.startsWith("#key=")) history.replaceState(null, "", "/");
if (isLocal) local.forgetDeleted();

const list = new EntryList(backend, refreshAround);
const editor = makeEditor({ save: saveNew, saved: savedNew });
const calendar = new Calendar(backend, { read: readDay, write: (day) => editor.writeOn(day) });
byId("write").append(editor.form);

/** The server knows an entry by the clientId we chose, so trying again after a lost answer writes it once. */
async function saveNew(draft) {
  const stored = await backend.add(draft);
  const tidy = (text) => text.normalize("NFC").replace(/\s+/g, " ").trim();
  const isSame = ["date", "title", "body", "mood"].every((field) => tidy(stored[field]) === tidy(draft[field]));
  // Not the same: a first try did arrive, and the words were changed before this one. Then this one is an edit.
  return isSame ? stored : backend.change(stored.id, draft);
}

async function savedNew(entry) {
  tell(say("write.saved"));
  byId("query").value = "";
  if (list.isFiltered) await showAll();
  else list.added(entry);
}

function showAll() {
  refreshAround();
  return list.show({ query: "", day: "" });
}

async function readDay(day) {
  byId("query").value = "";
  await list.show({ query: "", day });
  byId("filter").scrollIntoView({ block: "start" });
  byId("entries").focus({ preventScroll: true });
}

function refreshAround() {
  calendar.refresh();
  showMemories();
}

async function showMemories() {
  const found = await backend.memories(today()).catch(() => []);
  const box = byId("memories");
  box.hidden = !found.length;
  box.replaceChildren(
    ...found.slice(0, 3).map((entry) => {
      const heading = document.createElement("h2");
      heading.textContent = sayCount("memories.ago", entry.yearsAgo);
      const card = makeCard(entry, {});
      card.querySelector(".menu").remove();
      card.prepend(heading);
      return card;
    }),
  );
}

let typing;
byId("query").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(find, 200);
});
byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  find();
});

function find() {
  const query = byId("query").value.normalize("NFC").trim();
  list.show({ query, day: "" });
}

offerCarrying(backend, showAll);

byId("log-out").addEventListener("click", async () => {
  byId("menu").open = false;
  const drafts = Object.keys(localStorage).filter((key) => key.startsWith(DRAFTS));
  const question = { title: say("logout.title"), text: say("logout.lose"), yes: say("logout.yes") };
  if (drafts.length && !(await confirmed(question))) return;
  try {
    await ask("POST", "/logout", {});
  } catch (error) {
    if (error.code !== "login_required") return tell(explain(error));
  }
  for (const key of drafts) localStorage.removeItem(key); // nothing private stays behind
  location.replace("/");
});

// Menus close when one looks elsewhere.
addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll(".menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

refreshAround();
await list.load();
document.documentElement.dataset.ready = "";
