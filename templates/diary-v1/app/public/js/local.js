// Entries in this browser only (localStorage). Same functions and same answers as server.js.

import { Trouble } from "./trouble.js";

const KEY = "diary.entries";
const PAGE = 20;

const readAll = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");
const alive = () => readAll().filter((entry) => !entry.deletedAt);
const newestFirst = (a, b) => b.date.localeCompare(a.date) || b.id - a.id;

function writeAll(entries) {
  try {
    localStorage.setItem(KEY, JSON.stringify(entries));
  } catch {
    throw new Trouble("local_full");
  }
}

function check(draft) {
  const tidy = (text) => (text ?? "").normalize("NFC").trim();
  if (!/^\d{4}-\d\d-\d\d$/.test(draft.date)) throw new Trouble("bad_date");
  if (!tidy(draft.body)) throw new Trouble("empty");
  return { date: draft.date, title: tidy(draft.title), body: tidy(draft.body), mood: draft.mood ?? "" };
}

export async function list({ query = "", from = "", to = "", cursor = "" } = {}) {
  const words = query.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
  const matches = alive()
    .filter((entry) => (!from || entry.date >= from) && (!to || entry.date <= to))
    .filter((entry) => words.every((word) => `${entry.title}\n${entry.body}`.toLowerCase().includes(word)))
    .sort(newestFirst);
  const start = cursor ? matches.findIndex((entry) => newestFirst(entry, readCursor(cursor)) > 0) : 0;
  const entries = start < 0 ? [] : matches.slice(start, start + PAGE);
  const last = entries.at(-1);
  const isMore = start >= 0 && start + PAGE < matches.length;
  return { entries, nextCursor: isMore ? `${last.date}_${last.id}` : null, total: cursor ? null : matches.length };
}

function readCursor(cursor) {
  const [date, id] = cursor.split("_");
  return { date, id: Number(id) };
}

export async function add(draft) {
  const entries = readAll();
  const now = new Date().toISOString();
  let entry = entries.find((other) => other.clientId === draft.clientId);
  if (entry) {
    delete entry.deletedAt;
  } else {
    const id = Math.max(0, ...entries.map((other) => other.id)) + 1;
    entry = { id, clientId: draft.clientId, ...check(draft), createdAt: now, updatedAt: now };
    entries.push(entry);
  }
  writeAll(entries);
  return entry;
}

async function edit(id, values) {
  const entries = readAll();
  const entry = entries.find((other) => other.id === id);
  if (!entry) throw new Trouble("not_found");
  Object.assign(entry, values);
  writeAll(entries);
  return entry;
}

export const change = (id, draft) => edit(id, { ...check(draft), updatedAt: new Date().toISOString() });
export const restore = (id) => edit(id, { deletedAt: undefined });
export const remove = (id) => edit(id, { deletedAt: new Date().toISOString() });

/** Undo lasts as long as the page: what was deleted before it was opened goes for good. */
export function forgetDeleted() {
  if (readAll().some((entry) => entry.deletedAt)) writeAll(alive());
}

export async function month(month) {
  const days = new Map();
  for (const entry of alive().sort(newestFirst).reverse()) {
    if (!entry.date.startsWith(month)) continue;
    days.set(entry.date, { date: entry.date, count: (days.get(entry.date)?.count ?? 0) + 1, mood: entry.mood });
  }
  return [...days.values()];
}

export async function memories(today) {
  const year = Number(today.slice(0, 4));
  return alive()
    .filter((entry) => entry.date.slice(5) === today.slice(5) && entry.date < today)
    .sort(newestFirst)
    .map((entry) => ({ ...entry, yearsAgo: year - Number(entry.date.slice(0, 4)) }));
}

export function exportAs(format) {
  const entries = alive().sort(newestFirst);
  const exportedAt = new Date().toISOString();
  const text =
    format === "json"
      ? JSON.stringify({ app: "madang-diary", version: 1, exportedAt, entries }, null, 1)
      : entries.map((e) => `## ${[e.date, e.mood, e.title].filter(Boolean).join(" ")}\n\n${e.body}\n\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  link.download = `diary-${exportedAt.slice(0, 10)}.${format === "json" ? "json" : "md"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
