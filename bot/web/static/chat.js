// The chat: what comes from Madang is drawn, what the person types and presses is sent and drawn at once.

import { Connection } from "./connection.js";
import { drawScreen, element, note, personMessage, wordsOf, writingMessage } from "./view.js";

const BANNER_AFTER_MS = 700;
const WRITING_AFTER_MS = 400;
const MESSAGES_MAX = 300;
const NEAR_PX = 80;

const allWords = JSON.parse(document.getElementById("words").textContent);
const log = document.getElementById("log");
const composer = document.getElementById("composer");
const text = document.getElementById("text");
const banner = document.getElementById("lost");
const newest = document.getElementById("newest");
const step = document.getElementById("step");
const precise = matchMedia("(pointer: fine)"); // a mouse: no keyboard would slide over the chat when the focus moves

const messages = new Map(); // message id -> its element; one element may have had several ids
const presses = new Map(); // message id -> the bubble that says what was pressed there
let words = allWords[document.documentElement.lang];
let here; // the newest message of Madang
let atEnd = true;
let writing;
let bannerTimer;
let writingTimer;

const connection = new Connection({
  url: `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/chat`,
  begin: () => ({ locale: document.documentElement.lang }),
  onFrame: received,
  onUp: () => {
    clearTimeout(bannerTimer);
    bannerTimer = undefined;
    banner.hidden = true;
  },
  onDown: () => {
    stopWriting();
    for (const node of log.querySelectorAll(".from-madang")) node.classList.add("paused");
    bannerTimer ??= setTimeout(() => (banner.hidden = false), BANNER_AFTER_MS);
  },
});

function received(frame) {
  if (frame.type === "screen") showScreen(frame);
  if (frame.type === "ack" || frame.type === "error") stopWriting();
  if (frame.type === "error") showError(frame.text);
}

// --- what Madang says

function showScreen(frame) {
  stopWriting();
  useLanguage(frame.locale);
  const known = messages.get(frame.message);
  if (known) edit(known, frame);
  else if (frame.redraw && here && wordsOf(here.screen) === wordsOf(frame.screen)) refresh(frame);
  else append(frame);
  announce(frame.screen);
  if (here === messages.get(frame.message)) text.placeholder = frame.screen.ask?.placeholder || words.placeholder;
}

function append(frame) {
  const node = element("div", "from-madang here");
  node.lang = frame.locale;
  here?.classList.remove("here");
  here = node;
  name(node, frame.message);
  draw(node, frame.screen);
  add(node);
  presses.clear();
}

function edit(node, frame) {
  const focused = node.contains(document.activeElement);
  node.classList.remove("paused");
  presses.get(frame.message)?.remove(); // the answer stands where the press was, as on a page
  presses.delete(frame.message);
  const differs = draw(node, frame.screen);
  if (differs) {
    node.classList.remove("changed");
    void node.offsetWidth; // restarts the highlight
    node.classList.add("changed");
    if (focused) text.focus({ preventScroll: true });
    if (atEnd && node === here) reveal(node);
  }
}

// After a reconnect: the newest message says just this; only its buttons are new.
function refresh(frame) {
  here.classList.remove("paused");
  name(here, frame.message);
  here.screen = undefined;
  draw(here, frame.screen);
}

function name(node, id) {
  node.dataset.message = id;
  messages.set(id, node);
}

function draw(node, screen) {
  return drawScreen(node, screen, words, (button, choice) => press(node, button, choice));
}

function announce(screen) {
  const label = screen.progress.find(({ state }) => state === "now")?.label ?? "";
  if (step.textContent !== label) step.textContent = label;
}

function showError(message) {
  if (log.lastElementChild?.textContent !== message) add(note(message));
}

function useLanguage(locale) {
  if (locale === document.documentElement.lang || !allWords[locale]) return;
  document.documentElement.lang = locale;
  words = allWords[locale];
  document.title = words.title;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
  for (const node of document.querySelectorAll("[data-word-label]")) node.ariaLabel = words[node.dataset.wordLabel];
}

// --- what the person says

function say(message) {
  add(personMessage(message, words), { own: true });
  connection.send({ type: "say", text: message });
  startWriting();
}

function press(node, button, choice) {
  const bubble = personMessage(button.label, words);
  for (const other of node.querySelectorAll(".pressed")) other.classList.remove("pressed");
  choice.classList.add("pressed");
  presses.get(node.dataset.message)?.remove();
  presses.set(node.dataset.message, bubble);
  log.append(bubble);
  connection.send({ type: "press", button: button.id, message: node.dataset.message });
  startWriting();
  if (precise.matches || document.activeElement === choice) text.focus({ preventScroll: true });
}

function startWriting() {
  clearTimeout(writingTimer);
  writingTimer = setTimeout(() => {
    writing ??= writingMessage(words);
    add(writing, { own: true });
  }, WRITING_AFTER_MS);
}

function stopWriting() {
  clearTimeout(writingTimer);
  writing?.remove();
  writing = undefined;
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const message = text.value.trim();
  text.value = "";
  grow();
  if (message) say(message);
  text.focus({ preventScroll: true });
});

text.addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229) return; // Enter ends a Korean syllable first
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    composer.requestSubmit();
  } else if (event.key === "ArrowUp" && text.value === "") {
    const first = here?.querySelector(".choice");
    if (first) event.preventDefault();
    first?.focus();
  }
});

// Arrows walk through the choices; any letter goes back to writing.
log.addEventListener("keydown", (event) => {
  const choice = event.target.closest(".choice");
  if (!choice || event.ctrlKey || event.altKey || event.metaKey) return;
  const forward = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (forward) {
    const all = [...choice.closest(".choices").querySelectorAll(".choice")];
    event.preventDefault();
    (all[all.indexOf(choice) + forward] ?? text).focus();
  } else if (event.key === "Escape" || (event.key.length === 1 && event.key !== " ")) {
    text.focus();
  }
});

// Browsers without field-sizing.
function grow() {
  if (CSS.supports("field-sizing", "content")) return;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

text.addEventListener("input", grow);

// --- scrolling

function add(node, { own = false } = {}) {
  const follow = atEnd || own;
  log.append(node);
  while (log.children.length > MESSAGES_MAX) forget(log.firstElementChild);
  if (follow) reveal(node);
  else newest.hidden = false;
}

function forget(node) {
  for (const [id, known] of messages) if (known === node) messages.delete(id);
  node.remove();
}

// Down to the end; for a message taller than the window, to its beginning.
function reveal(node) {
  const tall = node.offsetHeight > log.clientHeight;
  log.scrollTop = tall ? node.offsetTop - log.offsetTop - 12 : log.scrollHeight;
  atEnd = true;
}

log.addEventListener("scroll", () => {
  const left = log.scrollHeight - log.clientHeight - log.scrollTop;
  atEnd = left < NEAR_PX;
  if (atEnd) newest.hidden = true;
});

newest.addEventListener("click", () => {
  log.scrollTop = log.scrollHeight;
  newest.hidden = true;
});

new ResizeObserver(() => {
  if (atEnd) log.scrollTop = log.scrollHeight;
}).observe(log);

// Where the on-screen keyboard lies over the page instead of making it smaller (Safari), the page makes itself smaller.
window.visualViewport?.addEventListener("resize", () => {
  const { height, scale } = window.visualViewport;
  if (scale !== 1) return;
  document.documentElement.style.setProperty("--seen", `${height}px`);
  window.scrollTo(0, 0);
});

if (precise.matches) text.focus();
connection.connect();
