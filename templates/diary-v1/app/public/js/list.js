// Reading: entries by month and day, newest first, a page at a time.

import { makeCard } from "./card.js";
import { monthOf, nameDate, nameDay, nameMonth, nameWeekdayShort } from "./dates.js";
import { makeEditor } from "./editor.js";
import { tell } from "./feedback.js";
import { explain } from "./trouble.js";
import { say, sayCount } from "./words.js";

const byId = (id) => document.getElementById(id);

export class EntryList {
  #backend;
  #changed; // called when the calendar and memories may be out of date
  #filter = { query: "", day: "" };
  #cursor = null;
  #total = 0;
  #asked = 0; // counts questions, so that a slow old answer never replaces a newer one

  constructor(backend, changed) {
    this.#backend = backend;
    this.#changed = changed;
    byId("more").addEventListener("click", () => this.more());
    byId("list-retry").addEventListener("click", () => this.load());
    byId("filter-clear").addEventListener("click", () => this.show({ day: "" }));
    // The button presses itself when it scrolls into view, and stays for keyboards and slow networks.
    new IntersectionObserver(([seen]) => seen.isIntersecting && this.more(), { rootMargin: "400px" }).observe(byId("more"));
  }

  get isFiltered() {
    return Boolean(this.#filter.query || this.#filter.day);
  }

  /** Show only what matches: {query} words, {day} one day; "" = all. */
  show(filter) {
    this.#filter = { ...this.#filter, ...filter };
    return this.load();
  }

  async load() {
    const page = await this.#ask({});
    if (!page) return;
    byId("entries").replaceChildren();
    this.#total = page.total;
    this.#append(page);
  }

  async more() {
    if (!this.#cursor || byId("more").disabled) return;
    byId("more").disabled = true;
    const page = await this.#ask({ cursor: this.#cursor });
    byId("more").disabled = false;
    if (page) this.#append(page);
  }

  /** Put an entry where it belongs; used for each page, a new entry, a changed one and an undone delete. */
  place(entry) {
    const month = child(byId("entries"), monthOf(entry.date), makeMonth);
    const day = child(month, entry.date, makeDay);
    const cards = day.querySelector(".cards");
    const key = String(entry.id).padStart(16, "0");
    cards.querySelector(`[data-key="${key}"]`)?.remove();
    return child(cards, key, () => this.#card(entry));
  }

  added(entry) {
    this.#total += 1;
    const card = this.place(entry);
    this.#describe();
    this.#changed();
    return card;
  }

  async #ask(extra) {
    const mine = ++this.#asked;
    const { query, day } = this.#filter;
    byId("list-trouble").hidden = true;
    try {
      const page = await this.#backend.list({ query, from: day, to: day, ...extra });
      return mine === this.#asked ? page : null;
    } catch (error) {
      if (mine === this.#asked) {
        byId("list-trouble-text").textContent = error.code === "login_required" ? explain(error) : say("error.read");
        byId("list-trouble").hidden = false;
      }
      return null;
    }
  }

  #append(page) {
    for (const entry of page.entries) this.place(entry);
    this.#cursor = page.nextCursor;
    byId("more").hidden = !this.#cursor;
    this.#describe();
  }

  #describe() {
    const { query, day } = this.#filter;
    const isFiltered = this.isFiltered;
    const isNone = this.#total === 0;
    byId("filter").hidden = !day;
    byId("filter-text").textContent = day ? say("find.day", { day: nameDate(day) }) : "";
    byId("count").textContent = isNone ? "" : sayCount(isFiltered ? "find.result" : "list.count", this.#total);
    byId("empty").hidden = !isNone;
    byId("empty-title").textContent = query ? say("find.none_title", { query }) : say("list.empty_title");
    byId("empty-text").textContent = say(query ? "find.none_text" : "list.empty_text");
    byId("find").hidden = isNone && !isFiltered;
  }

  #card(entry) {
    const words = this.#filter.query.split(/\s+/).filter(Boolean);
    return makeCard(entry, { words, edit: (card) => this.#edit(entry, card), remove: () => this.#remove(entry) });
  }

  #edit(entry, card) {
    const back = (shown) => {
      editor.form.replaceWith(card);
      card.querySelector(".menu").open = false;
      if (shown === entry) card.querySelector("summary").focus();
    };
    const editor = makeEditor({
      entry,
      save: (draft) => this.#backend.change(entry.id, { ...draft, clientId: undefined }),
      saved: (changed) => {
        back(changed);
        this.#takeAway(card);
        this.place(changed).querySelector("summary").focus();
        this.#changed();
        tell(say("write.saved"));
      },
      cancelled: () => back(entry),
    });
    editor.form.dataset.key = card.dataset.key;
    card.replaceWith(editor.form);
    editor.focus();
  }

  async #remove(entry) {
    try {
      await this.#backend.remove(entry.id);
    } catch (error) {
      tell(explain(error));
      return;
    }
    this.#takeAway(byId("entries").querySelector(`[data-key="${String(entry.id).padStart(16, "0")}"]`));
    this.#total -= 1;
    this.#describe();
    this.#changed();
    byId("entries").focus({ preventScroll: true });
    tell(say("delete.done"), () => this.#undo(entry));
  }

  async #undo(entry) {
    try {
      const restored = await this.#backend.restore(entry.id);
      this.added(restored).querySelector("summary").focus();
      tell(say("delete.undone"));
    } catch (error) {
      tell(explain(error), () => this.#undo(entry));
    }
  }

  /** Remove a card, and its day and month when they are left empty. */
  #takeAway(card) {
    const day = card?.closest(".day");
    const month = card?.closest(".month");
    card?.remove();
    if (day && !day.querySelector("[data-key]")) day.remove();
    if (month && !month.querySelector(".day")) month.remove();
  }
}

/** The child with this key, made and put in its place (largest key first) when it is not there yet. */
function child(parent, key, make) {
  const children = [...parent.children].filter((other) => other.dataset.key);
  const after = children.find((other) => other.dataset.key <= key);
  if (after?.dataset.key === key) return after;
  const made = make(key);
  made.dataset.key = key;
  parent.insertBefore(made, after ?? null);
  return made;
}

function makeMonth(month) {
  const section = document.createElement("section");
  section.className = "month";
  const heading = document.createElement("h2");
  heading.textContent = nameMonth(`${month}-01`);
  section.append(heading);
  return section;
}

function makeDay(date) {
  const section = document.createElement("section");
  section.className = "day";
  const heading = document.createElement("h3");
  const number = document.createElement("b");
  number.textContent = String(Number(date.slice(8)));
  const weekday = document.createElement("span");
  weekday.textContent = nameWeekdayShort(date);
  heading.append(number, weekday);
  heading.ariaLabel = nameDay(date);
  const cards = document.createElement("div");
  cards.className = "cards";
  section.append(heading, cards);
  return section;
}
