// Elements, and changes to them that cost nothing where nothing changed.

/** An element. `props`: attributes; `text` and `on` (event -> handler) are its text and listeners. */
export function el(tag, props = {}, ...children) {
  return dress(document.createElement(tag), props, children);
}

/** The same in SVG. */
export function svg(tag, props = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function dress(node, { text: words, on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) attr(node, name, value);
  for (const [event, handler] of Object.entries(on)) node.addEventListener(event, handler);
  if (words !== undefined) text(node, words);
  node.append(...children);
  return node;
}

/** Set the text. Names come from configs, so nothing on this page is ever set as HTML. */
export function text(node, words) {
  if (node.shownText !== words) node.textContent = node.shownText = words;
}

/** Set an attribute; null, undefined or false takes it away, true sets it empty. */
export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const words = value === true ? "" : String(value);
  if (node.getAttribute(name) !== words) node.setAttribute(name, words);
}

/** Set a CSS property, which a strict Content-Security-Policy allows where it forbids style attributes. */
export function css(node, name, value) {
  const set = (node.shownCss ??= {});
  if (set[name] !== value) node.style.setProperty(name, (set[name] = value));
}

/**
 * Make the children of `parent` those of `items`, each kept as long as its key is there.
 * `make(item)` gives a part: `{node, update(item), end()}`; `end`, if there is one, is called before it goes. Nodes that stay in order are not touched, so they keep the focus.
 */
export function keyed(parent, items, key, make) {
  const parts = (parent.parts ??= new Map());
  const wanted = new Map(items.map((item) => [key(item), item]));
  for (const [name, part] of parts) {
    if (!wanted.has(name)) {
      part.end?.();
      part.node.remove();
      parts.delete(name);
    }
  }
  let next = parent.firstElementChild;
  for (const [name, item] of wanted) {
    let part = parts.get(name);
    if (!part) parts.set(name, (part = make(item)));
    if (part.node === next) next = next.nextElementSibling;
    else parent.insertBefore(part.node, next);
    part.update(item);
  }
}
