// What all explorers share: making elements, labelled sliders, saying a result, drawing at the width that there is.
// Stands first in the text of every explorer: elbo.js, latent.js and the others follow, because an anywidget's module is one text.

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// 1.50, −0.25: with the sign that typography wants.
const written = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");

// A slider with a visible label and value. `said` is what a screen reader hears in place of the bare number.
function slider({ label, min, max, step, get, set, shown = written, said = shown }) {
  const input = make("input", { type: "range", min, max, step, ariaLabel: label });
  input.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  const value = make("output");
  value.setAttribute("aria-hidden", "true"); // aria-valuetext says it
  input.addEventListener("input", () => set(Number(input.value)));
  const refresh = () => {
    input.value = get();
    value.textContent = shown(get());
    input.setAttribute("aria-valuetext", said(get()));
  };
  return { row: [make("span", { textContent: label }), input, value], input, refresh };
}

// Says a sentence to screen readers once the reader has come to rest, not sixty times a second.
function announcer(root) {
  const region = make("div", { className: "said", role: "status" });
  root.append(region);
  let timer;
  return (sentence) => {
    clearTimeout(timer);
    timer = setTimeout(() => (region.textContent = sentence), 500);
  };
}

// Calls `paint(width)` at most once a frame: when asked to, and when the element's width has changed.
function painter(element, paint) {
  let waiting = false;
  const ask = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const width = element.clientWidth;
      if (width) paint(width);
    });
  };
  const watcher = new ResizeObserver(ask);
  watcher.observe(element);
  return { ask, stop: () => watcher.disconnect() };
}

const prefersStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

// One draw from N(0, 1), by Box and Muller.
const gaussian = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

function button(text, act) {
  const element = make("button", { type: "button", textContent: text });
  element.addEventListener("click", act);
  return element;
}
