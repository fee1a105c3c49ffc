// The two ways the page talks back: a passing line at the bottom, and a question that wants an answer.

import { say } from "./words.js";

const TOAST_MS = 8_000;
const toast = document.getElementById("toast");
const toastText = document.getElementById("toast-text");
const toastUndo = document.getElementById("toast-undo");
const dialog = document.getElementById("ask");
let timer;

/** Say something for a while; with `undo`, offer to take it back. It stays while it is pointed at or focused. */
export function tell(text, undo) {
  toastText.textContent = text;
  toastUndo.textContent = say("delete.undo");
  toastUndo.hidden = !undo;
  toastUndo.onclick = () => {
    hide();
    undo();
  };
  toast.dataset.shown = "";
  wait();
}

function hide() {
  clearTimeout(timer);
  delete toast.dataset.shown;
  toastText.textContent = "";
  toastUndo.hidden = true;
}

function wait() {
  clearTimeout(timer);
  timer = setTimeout(() => (toast.matches(":hover, :focus-within") ? wait() : hide()), TOAST_MS);
}

/** Ask before something that hurts. Resolves to true only for the dangerous button. */
export function confirmed({ title, text, yes }) {
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  document.getElementById("ask-yes").textContent = yes;
  dialog.returnValue = "no"; // Escape keeps everything
  dialog.showModal();
  document.getElementById("ask-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
