// One entry as it is read.

import { confirmed } from "./feedback.js";
import { nameDay } from "./dates.js";
import { say } from "./words.js";

const FOLD_LETTERS = 700;
const FOLD_LINES = 14;

/** A card; `edit(card)` and `remove()` are what its menu does. `words` are marked in the text. */
export function makeCard(entry, { words = [], edit, remove }) {
  const card = document.getElementById("entry-template").content.firstElementChild.cloneNode(true);
  const part = (name) => card.querySelector(`[data-part="${name}"]`);
  const text = card.querySelector(".text");
  const unfold = part("unfold");

  const heading = card.querySelector("h4");
  heading.append(...(entry.mood ? [entry.mood, " "] : []), ...marked(entry.title, words));
  if (!entry.mood && !entry.title) {
    heading.textContent = nameDay(entry.date); // for screen readers; the day beside it says so to everyone else
    heading.className = "hidden-visually";
  }
  text.append(...marked(entry.body, words));
  card.querySelector("summary").ariaLabel = say("entry.menu", { day: nameDay(entry.date) });

  if (entry.body.length > FOLD_LETTERS || entry.body.split("\n").length > FOLD_LINES) {
    text.classList.add("folded");
    unfold.hidden = false;
    unfold.ariaExpanded = "false";
    unfold.addEventListener("click", () => {
      const isFolded = text.classList.toggle("folded");
      unfold.textContent = say(isFolded ? "entry.unfold" : "entry.fold");
      unfold.ariaExpanded = String(!isFolded);
    });
  }
  part("edit").addEventListener("click", () => edit(card));
  part("delete").addEventListener("click", async () => {
    card.querySelector(".menu").open = false;
    const question = { title: say("delete.title"), text: say("delete.text"), yes: say("entry.delete") };
    if (await confirmed(question)) remove();
    else card.querySelector("summary").focus();
  });
  return card;
}

/** Text as nodes, with every occurrence of the words that were searched for in a <mark>. */
export function marked(text, words) {
  if (!words.length) return [text];
  const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "gi");
  return text.split(pattern).map((piece, index) => {
    if (index % 2 === 0) return piece;
    const mark = document.createElement("mark");
    mark.textContent = piece;
    return mark;
  });
}
