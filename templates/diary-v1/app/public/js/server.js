// Entries on the server, by the API. local.js offers the same functions for a diary without one.

import { ask } from "./trouble.js";

export function list({ query = "", from = "", to = "", cursor = "" } = {}) {
  const asked = Object.entries({ query, from, to, cursor }).filter(([, value]) => value);
  return ask("GET", `/api/entries?${new URLSearchParams(asked)}`);
}

export const add = (entry) => ask("POST", "/api/entries", entry);
export const change = (id, entry) => ask("PUT", `/api/entries/${id}`, entry);
export const remove = (id) => ask("DELETE", `/api/entries/${id}`);
export const restore = (id) => ask("POST", `/api/entries/${id}/restore`);
export const month = async (month) => (await ask("GET", `/api/calendar?month=${month}`)).days;
export const memories = async (today) => (await ask("GET", `/api/memories?date=${today}`)).entries;

/** A download that the browser does by itself. */
export function exportAs(format) {
  const link = document.createElement("a");
  link.href = `/api/export?format=${format}`;
  link.download = "";
  link.click();
}
