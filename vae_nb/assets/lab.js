// Lab: a still picture and a button. The program and the data are fetched when the button is pressed, so that a page hardly grows.
// Concatenated after weights.js.

async function inflate(bytes) {
  if (typeof DecompressionStream === "undefined") throw new NetworkError("This browser is too old for the lab: it needs one from 2023 or later.");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function fetchPart(part, model) {
  const bytes = await findWeights(part.key, model);
  checkWeights(part, bytes);
  return inflate(bytes);
}

// The program is a module of its own, of which only `open` is known here.
async function importText(bytes) {
  const url = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function render({ model, el, signal }) {
  const add = (parent, tag, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));
  const root = add(el, "div", { className: "vae-idea vae-explorer vae-lab", ariaLabel: model.get("title") });
  root.setAttribute("role", "group");
  add(root, "img", { src: model.get("poster"), alt: model.get("alt"), className: "dark-light", style: "display: block; max-width: 100%; height: auto; margin: 0 0 .4rem" });
  const start = add(root, "button", { type: "button", textContent: "Train a VAE here" }), message = add(root, "p", { className: "message" });
  message.setAttribute("role", "status");
  let leave, gone = false;
  start.addEventListener("click", async () => {
    if (start.ariaDisabled === "true") return;
    start.ariaDisabled = "true";
    message.textContent = "Loading …";
    try {
      const [program, data] = await Promise.all([fetchPart(model.get("program"), model), fetchPart(model.get("data"), model)]);
      leave = (await importText(program)).open({ model, root, data, signal });
      if (gone || signal?.aborted) leave(); // the view was removed meanwhile
    } catch (error) {
      message.textContent = error instanceof NetworkError || error.whole ? error.message : `The lab could not start (${error.message}).`;
      start.ariaDisabled = "false";
    }
  });
  return () => { gone = true; leave?.(); };
}

export default { render };
