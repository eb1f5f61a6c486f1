// A map of two latents: encoded images as dots, shapes below them, and the point that is decoded. Drag it, or use the arrow keys.
// Concatenated after ideas.js. `at` is where the point stands; `z` is what arrow keys move (the two differ by attribute directions).

const COLOURS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]; // seaborn's colour-blind palette

function makeMap({ reach, at, z = at, move }) {
  const y = (value) => (-value).toFixed(3);
  const svg = draw("svg", { viewBox: `${-reach} ${-reach} ${2 * reach} ${2 * reach}`, class: "map", tabindex: 0, role: "application", "aria-roledescription": "map of two latents" });
  svg.dataset.lmSuppressShortcuts = "true";
  const content = draw("g"), handle = draw("circle", { r: reach / 20, class: "handle" });
  for (const radius of [1, 2, 3]) svg.append(draw("circle", { r: radius, class: "ring" }));
  svg.append(content, handle);

  // Dots by class, [{ name, colour, middle, xy }], above shapes, each a list of closed lines [x, y, x, y, …].
  const show = (points, shapes = []) => {
    content.replaceChildren();
    const pairs = (xy, each) => { let text = ""; for (let i = 0; i < xy.length; i += 2) text += each(xy[i], y(xy[i + 1]), i); return text; };
    for (const lines of shapes) content.append(draw("path", { class: "shape", d: lines.map((xy) => pairs(xy, (a, b, i) => `${i ? "L" : "M"}${a} ${b}`) + "Z").join("") }));
    for (const { xy, colour } of points) // lines of no length with round ends are dots
      content.append(draw("path", { d: pairs(xy, (a, b) => `M${a} ${b}h0`), class: "dots", stroke: COLOURS[colour % COLOURS.length] }));
    for (const { name, middle } of points) // names after all dots, so that none is covered
      if (name) content.append(draw("text", { x: middle[0], y: y(middle[1]), style: `font-size: ${reach / 8}px; stroke-width: ${reach / 45}` }, name));
  };

  const clamped = (values) => values.map((value) => Number(clamp(value, -reach, reach).toFixed(3)));
  const drag = (event) => {
    const box = svg.getBoundingClientRect();
    const point = clamped([((event.clientX - box.left) / box.width - 0.5) * 2 * reach, (0.5 - (event.clientY - box.top) / box.height) * 2 * reach]);
    const [from, stands] = [z(), at()]; // with directions added, the handle stands elsewhere than z
    move(point.map((value, i) => Number((value - stands[i] + from[i]).toFixed(3))));
  };
  svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); drag(event); });
  svg.addEventListener("pointermove", (event) => svg.hasPointerCapture(event.pointerId) && drag(event));
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    move(clamped(z().map((value, i) => value + way[i] * (event.shiftKey ? 0.5 : 0.1))));
  });
  const refresh = () => {
    const [across, up] = at();
    handle.setAttribute("cx", across);
    handle.setAttribute("cy", y(up));
    svg.setAttribute("aria-label", `Map of the latents: z[0] is ${written(across)}, z[1] is ${written(up)}. Arrow keys move the point.`);
  };
  return { svg, show, refresh };
}
