// Words in the reader's language. The server chose it (<html lang>) and filled the pages; this is for what comes later.

export const language = document.documentElement.lang;

const words = await (await fetch(new URL(`../i18n/${language}.json`, import.meta.url))).json();
const plural = new Intl.PluralRules(language);

export function has(key) {
  return key in words;
}

export function say(key, values = {}) {
  return words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** "1 entry", "2 entries": picks KEY.one or KEY.other by n. */
export function sayCount(key, n, values = {}) {
  return say(`${key}.${plural.select(n) === "one" ? "one" : "other"}`, { n: n.toLocaleString(language), ...values });
}
