// What the explorers of a network share: a picture with its poster, decoding the newest state only, saying what went wrong.
// Concatenated after engine.js and ideas.js.

// The poster until the first picture has been computed, and for good if none ever is.
function makePicture({ poster, alt, shape, className = "" }) {
  const [channels, height, width] = shape, size = width * height;
  const still = make("img", { src: poster, alt, className: `dark-light ${className}`, draggable: false }); // the class keeps the book's theme from dimming it
  const canvas = make("canvas", { width, height, className, hidden: true, ariaLabel: alt });
  canvas.setAttribute(...(alt ? ["role", "img"] : ["aria-hidden", "true"])); // no words: what is beside it says it
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  const paint = (values) => {
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 255 * values[(channels === 3 ? c * size : 0) + i]; // rounds and clamps by itself
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    canvas.hidden = false;
    still.hidden = true;
  };
  return { elements: [still, canvas], paint, canvas, still };
}

// Calls `work` once a frame at most, however often it is asked, and never starts it before it has ended: nothing queues up.
function newestOnly(work) {
  let wanted = false, busy = false;
  const turn = async () => {
    wanted = false;
    await work();
    wanted ? requestAnimationFrame(turn) : (busy = false);
  };
  return () => {
    wanted = true;
    if (!busy) requestAnimationFrame(turn);
    busy = true;
  };
}

const sentenceOf = (error) =>
  error instanceof NetworkError ? error.message : `The explorer has failed: ${error.message}.`;

// A group with a place for messages, which screen readers hear.
function makeRoot(model, el) {
  const root = make("div", { className: "vae-idea vae-explorer", ariaLabel: model.get("title") });
  root.setAttribute("role", "group");
  const message = make("p", { className: "message" });
  message.setAttribute("role", "status");
  el.append(root);
  return { root, message, say: (text) => message.textContent !== text && (message.textContent = text) };
}

// Changes traits as one step. Lists and dictionaries must be new ones, or nobody notices.
function setter(model) {
  return (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  };
}

// Weights travel when the reader comes near: with a pointer, a finger or the keyboard.
function whenTouched(root, act) {
  for (const event of ["pointerenter", "pointerdown", "focusin"]) root.addEventListener(event, act, { once: true });
}

function listenWhileShown(model, names, listener, signal) {
  model.on(names, listener);
  const leave = () => model.off(names, listener);
  signal?.addEventListener("abort", leave);
  return leave;
}

// A picker for every categorical: it shows the most probable category of z, and sets a one-hot.
function categoryPickers(model, put) {
  return model.get("categoricals").map(({ label, start, names }) => {
    const input = make("select", { ariaLabel: label }, ...names.map((name, i) => new Option(name, i)));
    input.dataset.lmSuppressShortcuts = "true";
    const within = (i) => i >= start && i < start + names.length;
    input.addEventListener("change", () => put({ z: model.get("z").map((old, i) => (within(i) ? Number(i === start + Number(input.value)) : old)) }));
    const refresh = () => {
      const block = model.get("z").slice(start, start + names.length);
      input.value = block.indexOf(Math.max(...block));
    };
    return { row: [make("span", { textContent: label }), input, make("span")], refresh };
  });
}

const copyText = async (text) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = make("textarea", { value: text }); // pages without https have no clipboard of their own
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("this page may not use the clipboard");
};
