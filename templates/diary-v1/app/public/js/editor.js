// Writing: a new entry, or a change to an old one. What is typed is kept in this browser at every key press, under a
// name of its own, until the diary has said that it is saved.

import { nameWeekday, today } from "./dates.js";
import { explain, Trouble } from "./trouble.js";
import { say } from "./words.js";

export const DRAFTS = "diary.draft.";
const MOODS = { happy: "😊", calm: "😌", loved: "😍", tired: "😴", sad: "😢", angry: "😠" };

/** Works on plain http too, where crypto.randomUUID does not exist. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * An editor element. `entry` is what to change, or null for a new one. `save(draft)` stores and returns the entry, or
 * throws a Trouble; then `saved(entry)`. `cancelled()` makes a cancel button appear.
 */
export function makeEditor({ entry = null, save, saved, cancelled = null }) {
  const form = document.getElementById("editor-template").content.firstElementChild.cloneNode(true);
  const part = (name) => form.querySelector(`[data-part="${name}"]`);
  const { date, title, body } = form.elements;
  const trouble = form.querySelector(".trouble");
  const storageKey = DRAFTS + (entry ? entry.id : "new");
  const original = { date: entry?.date ?? today(), title: entry?.title ?? "", body: entry?.body ?? "", mood: entry?.mood ?? "" };
  let clientId = newId();
  let mood = "";
  let day = today();

  const current = () => ({ date: date.value, title: title.value, body: body.value, mood });
  const isChanged = () => body.value !== original.body || title.value !== original.title || mood !== original.mood;

  function show(values) {
    date.value = values.date;
    title.value = values.title;
    body.value = values.body;
    mood = values.mood;
    drawMoods();
    redraw();
  }

  function redraw() {
    // Not needed where CSS has field-sizing: content; there it changes nothing.
    body.style.height = "auto";
    if (body.scrollHeight) body.style.height = `${body.scrollHeight + 2}px`;
    const weekday = date.value ? nameWeekday(date.value) : "";
    part("weekday").textContent = date.value === today() ? `${weekday} · ${say("write.today")}` : weekday;
    part("draft").textContent = isChanged() ? say("write.draft") : "";
    form.toggleAttribute("data-open", Boolean(entry) || isChanged() || form.contains(document.activeElement));
  }

  function drawMoods() {
    const choices = Object.entries(MOODS);
    if (mood && !Object.values(MOODS).includes(mood)) choices.unshift([null, mood]);
    const buttons = choices.map(([name, face]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = face;
      button.setAttribute("aria-pressed", String(face === mood));
      if (name) button.ariaLabel = button.title = say(`mood.${name}`);
      button.addEventListener("click", () => {
        mood = face === mood ? "" : face;
        for (const other of buttons) other.setAttribute("aria-pressed", String(other.textContent === mood));
        keep();
      });
      return button;
    });
    form.querySelector(".moods").replaceChildren(...buttons);
  }

  function keep() {
    if (isChanged()) {
      try {
        localStorage.setItem(storageKey, JSON.stringify({ ...current(), clientId }));
      } catch {
        // This browser keeps nothing for us; the words are still on the screen.
      }
    } else {
      localStorage.removeItem(storageKey);
    }
    redraw();
  }

  function startOver() {
    localStorage.removeItem(storageKey);
    clientId = newId();
    day = today();
    show({ ...original, date: entry ? original.date : day });
    complain("");
  }

  function complain(text) {
    trouble.textContent = text;
    trouble.hidden = !text;
    part("save").textContent = say(text ? "error.retry" : "write.save");
  }

  async function submit() {
    if (part("save").disabled) return;
    const draft = { ...current(), clientId };
    part("save").disabled = true;
    part("save").textContent = say("write.saving");
    try {
      if (!draft.body.trim()) throw new Trouble("empty");
      if (!draft.date) throw new Trouble("bad_date");
      const stored = await save(draft);
      part("save").disabled = false;
      // Someone who kept typing while the answer was under way keeps those words: they become the next save.
      if (JSON.stringify(current()) === JSON.stringify({ ...draft, clientId: undefined })) {
        document.activeElement?.blur();
        startOver();
        saved(stored);
      } else {
        complain("");
      }
    } catch (error) {
      part("save").disabled = false;
      const isTheirs = ["empty", "bad_date", "too_long"].includes(error.code);
      complain(isTheirs ? explain(error) : `${explain(error)} ${say("write.kept")}`);
      if (isTheirs) (error.code === "bad_date" ? date : body).focus();
    }
  }

  form.addEventListener("input", keep);
  form.addEventListener("focusin", redraw);
  form.addEventListener("focusout", (event) => form.contains(event.relatedTarget) || setTimeout(redraw));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  });
  part("cancel").hidden = !cancelled;
  part("cancel").addEventListener("click", () => {
    startOver();
    cancelled();
  });

  // Two tabs share one draft. When the other tab has saved it, what is here is a new entry, not a change of that one.
  addEventListener("storage", (event) => {
    if (event.key !== storageKey || event.newValue !== null || !form.isConnected) return;
    clientId = newId();
    if (event.oldValue && JSON.parse(event.oldValue).body === body.value) startOver();
  });
  // A page left open overnight: today is another day.
  addEventListener("visibilitychange", () => {
    const isStale = day !== today() && date.value === day;
    if (!entry && isStale && !isChanged()) startOver();
  });

  if (entry) form.ariaLabel = say("write.edit_label");
  const draft = JSON.parse(localStorage.getItem(storageKey) ?? "null");
  if (draft?.clientId) clientId = draft.clientId;
  show(draft ?? original);
  requestAnimationFrame(redraw); // heights are known once it is on the page

  return {
    form,
    focus: () => body.focus(),
    writeOn(day) {
      date.value = day;
      keep();
      body.focus();
    },
  };
}
