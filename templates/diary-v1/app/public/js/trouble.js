// Everything that can go wrong has a code; words for it are "error.CODE" in the dictionaries.

import { has, say } from "./words.js";

export class Trouble extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

export function explain(error) {
  if (!(error instanceof Trouble)) console.error(error);
  const key = `error.${error.code}`;
  return say(has(key) ? key : "error.other");
}

/** Ask the server and return its `data`. Whatever happens instead is thrown as a Trouble. */
export async function ask(method, path, content, timeout_ms = 15_000) {
  let answer;
  try {
    const response = await fetch(path, {
      method,
      headers: content === undefined ? {} : { "Content-Type": "application/json" },
      body: content === undefined ? undefined : JSON.stringify(content),
      cache: "no-store",
      signal: AbortSignal.timeout(timeout_ms),
    });
    answer = await response.json();
  } catch {
    // No network, no answer in time, or something between us and the diary answered with a page of its own.
    throw new Trouble("offline");
  }
  if (!answer.ok) throw new Trouble(answer.code);
  return answer.data;
}
