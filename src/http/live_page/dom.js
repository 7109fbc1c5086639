// What all parts do with elements: make them, change only what differs, keep rows in order. Every string becomes text.

import { pieces, visible } from "./text.js";

/** An element with these attributes and children; strings become text. */
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const find = (id) => document.getElementById(id);

/** Sets a text only if it differs, so that a selection in it stays. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function set(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const foreign = new WeakMap();

/** Shows a text that peers choose. Its direction does not affect its neighbours, invisible characters are escaped, and its title has all of it. */
export function putForeign(element, text) {
  if (foreign.get(element) === text) return;
  foreign.set(element, text);
  const piece = ([shown, isEscaped]) => (isEscaped ? make("span", { class: "escaped" }, shown) : shown);
  element.replaceChildren(make("bdi", {}, ...pieces(text).map(piece)));
  element.title = visible(text);
}

/** Shows that there is no such text, and why. */
export function putNone(element, none, why) {
  foreign.delete(element);
  put(element, none);
  set(element, "title", why);
}

/** Keeps one child for each item, in order. Existing children are kept and moved. */
export function keep(parent, children, items, key, create, update) {
  const wanted = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    wanted.add(name);
    let child = children.get(name);
    if (!child) {
      child = create(item);
      children.set(name, child);
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const [name, child] of children) {
    if (wanted.has(name)) continue;
    child.remove();
    children.delete(name);
  }
}
