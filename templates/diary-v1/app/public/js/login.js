// The key comes from the link (PUBLIC_URL/#key=…) or is typed. What stands behind # never leaves the browser by itself:
// no server and no log sees it. We take it out of the address at once, so that it stays out of the history as well.

import { ask, explain } from "./trouble.js";
import { say } from "./words.js";

const field = document.getElementById("key");
const button = document.getElementById("enter");
const trouble = document.getElementById("trouble");

async function enter() {
  button.disabled = true;
  button.textContent = say("login.busy");
  trouble.textContent = "";
  try {
    await ask("POST", "/login", { key: field.value });
    location.replace("/");
  } catch (error) {
    trouble.textContent = explain(error);
    button.disabled = false;
    button.textContent = say("login.submit");
    field.select();
  }
}

function takeKeyFromLink() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  history.replaceState(null, "", "/");
  field.value = key;
  enter();
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  enter();
});
addEventListener("hashchange", takeKeyFromLink); // the link opened in a tab that already shows this page
takeKeyFromLink();
