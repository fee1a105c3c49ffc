// Draws messages. What a message shows comes from the server as plain text; nothing of it is ever read as HTML.

const LINK = /https?:\/\/[^\s<>"'“”]*[^\s<>"'“”.,;:!?)\]}]/g;
const SHOWN_COPIED_MS = 2000;

export function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

// What the person said or pressed.
export function personMessage(text, words) {
  const bubble = element("div", "bubble", element("span", "unseen", `${words.you}: `), text);
  return element("div", "from-person", bubble);
}

export function writingMessage(words) {
  const bubble = element("div", "bubble", element("i"), element("i"), element("i"));
  const label = element("span", "unseen", words.writing);
  return element("div", "from-madang writing", label, bubble);
}

export function note(text) {
  return element("p", "note", text);
}

// Fills a message with a screen, or only moves its progress on where nothing else changed: a spinner keeps turning,
// and what the person has selected stays so. Returns whether the message looks different now but for its progress.
export function drawScreen(node, screen, words, onPress) {
  const before = node.screen;
  node.screen = screen;
  if (before && screen.progress.length > 0 && steadyPart(before) === steadyPart(screen)) {
    moveProgress(node, screen, words);
    return false;
  }
  node.replaceChildren(...[bubble(screen, words), choices(screen, words, onPress)].filter(Boolean));
  return true;
}

// The words of a screen, without what differs from one showing to the next.
export function wordsOf(screen) {
  const labels = screen.buttons.map((row) => row.map((button) => button.label));
  return JSON.stringify([screen.title, screen.text, screen.code, labels, screen.ask, screen.progress.length]);
}

function steadyPart(screen) {
  return wordsOf(screen) + JSON.stringify([screen.buttons, screen.progress.map((step) => step.label)]);
}

function bubble(screen, words) {
  const node = element("div", "bubble", element("span", "unseen", `${words.madang}: `));
  if (screen.title) node.append(element("h2", "", screen.title));
  if (screen.text) node.append(element("p", "", ...linked(screen.text)));
  if (screen.progress.length > 0) node.append(progress(screen, words), element("p", "elapsed", elapsed(screen, words)));
  if (screen.code) node.append(code(screen.code, words));
  node.classList.toggle("wide", screen.progress.length > 0 || Boolean(screen.code));
  return node;
}

function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    parts.push(text.slice(end, match.index), link(match[0], match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

function link(url, ...children) {
  const node = element("a", "", ...children);
  Object.assign(node, { href: url, target: "_blank", rel: "noopener noreferrer" });
  return node;
}

function code(text, words) {
  const pre = element("pre", "", text);
  pre.tabIndex = 0; // scrolled with the keyboard
  const copy = element("button", "copy", words.copy);
  copy.type = "button";
  copy.addEventListener("click", async () => {
    await copyText(text, pre);
    copy.textContent = words.copied;
    setTimeout(() => (copy.textContent = words.copy), SHOWN_COPIED_MS);
  });
  requestAnimationFrame(() => (pre.scrollTop = pre.scrollHeight)); // the end is the newest
  return element("div", "code", element("div", "code-bar", copy), pre);
}

async function copyText(text, pre) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  getSelection().selectAllChildren(pre); // by http there is no clipboard object
  document.execCommand("copy");
  getSelection().removeAllRanges();
}

function progress(screen, words) {
  const list = element("ol", "progress");
  for (const step of screen.progress) list.append(element("li", "", step.label, element("span", "unseen")));
  showStates(list, screen, words);
  return list;
}

function moveProgress(node, screen, words) {
  showStates(node.querySelector(".progress"), screen, words);
  node.querySelector(".elapsed").textContent = elapsed(screen, words);
}

function showStates(list, screen, words) {
  screen.progress.forEach((step, index) => {
    const item = list.children[index];
    if (item.className === step.state) return;
    item.className = step.state;
    item.lastChild.textContent = ` (${words[step.state]})`;
  });
}

function elapsed({ elapsed_s: seconds }, words) {
  if (seconds === null) return "";
  const whole = Math.floor(seconds);
  const form = whole < 60 ? words.seconds : words.minutes;
  return form.replace("{minutes}", Math.floor(whole / 60)).replace("{seconds}", whole % 60);
}

function choices(screen, words, onPress) {
  if (screen.buttons.length === 0) return undefined;
  const rows = screen.buttons.map((row) =>
    element("div", "row", ...row.map((button) => choice(button, words, onPress)))
  );
  return element("div", "choices", ...rows);
}

function choice(button, words, onPress) {
  const label = element("span", "label", button.label);
  if (button.url !== undefined) return opening(button, label, words);
  const node = element("button", `choice ${button.style}`, label);
  node.type = "button";
  node.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays with the composer
  node.addEventListener("click", () => onPress(button, node));
  return node;
}

function opening(button, label, words) {
  let address;
  try {
    address = new URL(button.url);
  } catch {
    return label;
  }
  if (!["http:", "https:"].includes(address.protocol)) return label;
  // The host only: an address may carry a key that is nobody's business.
  const node = link(address.href, label, element("span", "address", address.host));
  node.append(element("span", "unseen", ` (${words.opens})`));
  node.className = `choice link ${button.style}`;
  return node;
}
