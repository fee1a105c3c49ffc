// Days are plain text, "2026-05-31", in the reader's own time zone. They become a Date only to be named.

import { language } from "./words.js";

function named(options) {
  const format = new Intl.DateTimeFormat(language, { ...options, timeZone: "UTC" });
  return (day) => format.format(new Date(`${day}T00:00:00Z`));
}

export const nameDay = named({ year: "numeric", month: "long", day: "numeric", weekday: "long" });
export const nameDate = named({ month: "long", day: "numeric" });
export const nameMonth = named({ year: "numeric", month: "long" });
export const nameWeekday = named({ weekday: "long" });
export const nameWeekdayShort = named({ weekday: "short" });

export function today() {
  const now = new Date();
  return [now.getFullYear(), now.getMonth() + 1, now.getDate()].map((n) => String(n).padStart(2, "0")).join("-");
}

export function monthOf(day) {
  return day.slice(0, 7);
}

export function shiftMonth(month, by) {
  const moved = new Date(`${month}-01T00:00:00Z`);
  moved.setUTCMonth(moved.getUTCMonth() + by);
  return moved.toISOString().slice(0, 7);
}

/** Every day of a month, and how many empty cells come before the first (weeks start on Sunday). */
export function daysOf(month) {
  const first = new Date(`${month}-01T00:00:00Z`);
  const last = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 0)).getUTCDate();
  const days = Array.from({ length: last }, (_, index) => `${month}-${String(index + 1).padStart(2, "0")}`);
  return { days, blanks: first.getUTCDay() };
}
