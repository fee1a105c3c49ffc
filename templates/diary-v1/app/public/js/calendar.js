// A month at a time: days with entries lead to them, empty days invite to write.

import { daysOf, monthOf, nameDay, nameMonth, nameWeekdayShort, shiftMonth, today } from "./dates.js";
import { say, sayCount } from "./words.js";

const byId = (id) => document.getElementById(id);

export class Calendar {
  #backend;
  #read;
  #write;
  #month = monthOf(today());

  /** `read(day)` shows the entries of a day, `write(day)` starts a new one. */
  constructor(backend, { read, write }) {
    this.#backend = backend;
    this.#read = read;
    this.#write = write;
    byId("month-before").addEventListener("click", () => this.#go(-1));
    byId("month-after").addEventListener("click", () => this.#go(1));
    byId("calendar-toggle").addEventListener("click", () => this.#toggle(byId("calendar").hasAttribute("data-collapsed")));
    this.#draw([]);
  }

  async refresh() {
    const asked = this.#month;
    // An old or missing mark in the calendar is no reason to stop anyone from writing.
    const days = await this.#backend.month(asked).catch(() => null);
    if (days && asked === this.#month) this.#draw(days);
  }

  #go(by) {
    this.#month = shiftMonth(this.#month, by);
    this.#draw([]);
    this.refresh();
  }

  #toggle(isOpen) {
    byId("calendar").toggleAttribute("data-collapsed", !isOpen);
    byId("calendar-toggle").ariaExpanded = String(isOpen);
  }

  #draw(written) {
    const marks = new Map(written.map((day) => [day.date, day]));
    const { days, blanks } = daysOf(this.#month);
    const now = today();
    byId("month-name").textContent = nameMonth(`${this.#month}-01`);
    byId("month-after").disabled = this.#month >= monthOf(now);
    byId("calendar-note").textContent = marks.size ? sayCount("calendar.note", marks.size) : say("calendar.note_empty");
    const names = daysOf("2023-01").days.slice(0, 7).map((sunday) => {
      const name = document.createElement("span");
      name.className = "weekday";
      name.ariaHidden = "true";
      name.textContent = nameWeekdayShort(sunday);
      return name;
    });
    const gap = Array.from({ length: blanks }, () => document.createElement("span"));
    byId("days").replaceChildren(...names, ...gap, ...days.map((day) => this.#day(day, marks.get(day), now)));
  }

  #day(day, mark, now) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = String(Number(day.slice(8)));
    button.disabled = !mark && day > now;
    button.dataset.day = day;
    button.toggleAttribute("data-written", Boolean(mark));
    if (day === now) button.ariaCurrent = "date";
    const name = nameDay(day);
    button.ariaLabel = mark ? sayCount("calendar.day", mark.count, { day: name }) : say("calendar.day_empty", { day: name });
    button.addEventListener("click", () => {
      this.#toggle(false);
      if (mark) this.#read(day);
      else this.#write(day);
    });
    return button;
  }
}
