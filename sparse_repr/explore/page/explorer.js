// Puts the page together.
"use strict";
const Explorer = {};
(async () => {
  const status = document.getElementById("status");
  const contents = await Unpack.unpack(document.getElementById("contents").textContent, document.getElementById("block").textContent);
  const {runs} = contents;
  Explorer.contents = contents;
  for (const run of runs) {
    run.several = runs.length > 1;
    for (const group of run.groups) group.tells = group.tells.replace(" %", "\u00a0%"); // never at the end of a line
  }
  document.body.classList.toggle("several", runs.length > 1);

  // ---- the image
  const large = make("canvas", {class: "large", role: "img", "aria-label": "image"});
  const marks = dots(false, "keypoints of the image");
  const what = make("p", {class: "note", role: "status"});
  const chooser = make("input", {type: "file", accept: "image/*", class: "hidden-input", id: "chooser", onchange: () => take(chooser.files[0])});
  const examples = make("div", {class: "examples", role: "group", "aria-label": "example images"});
  const live = runs.every((run) => run.encoder);
  document.getElementById("source").append(
    make("div", {class: "head"}, make("h2", {}, make("span", {class: "step"}, "1"), "An image")),
    make("div", {}, make("div", {class: "canvas"}, large, marks)),
    make("div", {},
      live ? make("div", {class: "tools"}, make("label", {class: "button main"}, "Choose an image", chooser),
        make("button", {type: "button", onclick: () => pick(Math.floor(Math.random() * examples.children.length))}, "Any")) : null,
      examples),
    what);

  const film = contents.film;
  let scene = null;
  const strips = [];
  const panels = runs.map((run) => makePanel(run, (panel) => {
    strips.forEach((strip) => strip.panel === panel && strip.later());
    if (scene && panel.run === runs[film.run]) scene.changed();
  }));

  // `found`: the code of each run, where it is known already
  function look(picture, name, found = {}) {
    Pictures.show(large, picture);
    what.textContent = name;
    panels.forEach((panel, i) => panel.look(picture, found[i] ?? (panel.run.encoder ? null : panel.code())));
    const marked = panels.find((panel) => panel.run.keypoints);
    if (marked) {
      const {source_size: [high, wide], crop: [top, left, rows, columns]} = marked.run.preprocessing;
      drawDots(marks, marked.ownKeypoints.map((dot) => ({...dot,
        x: 2 * (left + (dot.x + 1) / 2 * columns) / wide - 1, y: 2 * (top + (dot.y + 1) / 2 * rows) / high - 1})));
    }
    Explorer.name = name;
  }

  const shown = runs.flatMap((run, r) => {
    if (!run.examples.images) return [];
    const {images, codes} = run.examples, [count, channels, height, width] = images.shape, size = channels * height * width, units = run.units.length;
    return Array.from({length: count}, (_, i) => ({run: r,
      picture: Pictures.ofBytes(images.data.subarray(i * size, (i + 1) * size), channels, height, width),
      code: codes.data.subarray(i * units, (i + 1) * units)}));
  });
  shown.forEach(({picture}, i) => {
    const canvas = make("canvas");
    Pictures.show(canvas, picture);
    examples.append(make("button", {type: "button", "aria-label": `example ${i + 1}`, "aria-pressed": "false", onclick: () => pick(i)}, canvas));
  });
  function pick(i) {
    press(i);
    const {run, picture, code} = shown[i];
    look(picture, `Example ${i + 1}.`, runs[run].encoder ? {} : {[run]: code});
  }
  function press(chosen) {
    [...examples.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
  }

  async function take(file) {
    if (!file) return;
    try {
      const picture = await Pictures.read(file);
      press(-1);
      const [high, wide] = runs[0].preprocessing.source_size;
      const same = picture.width === wide && picture.height === high;
      look(picture, same ? `${file.name}, as it is.` : `${file.name}: its middle, made ${wide} × ${high}. It stays on this computer.`);
    } catch (error) {
      what.textContent = `${file.name} is no picture that this browser reads.`;
    }
    chooser.value = "";
  }
  if (live) {
    document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
    document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      take(event.dataTransfer.files[0]);
    });
  }

  // ---- below
  document.getElementById("runs").append(...panels.map((panel) => panel.element));
  const more = document.getElementById("more");
  for (const panel of panels) {
    const strip = makeStrips(panel);
    strips.push({panel, later: strip.later});
    more.append(strip.element);
  }
  for (const run of runs) if (run.information) more.append(makeTable(run));

  // ---- how far the page and torch agree, on the examples
  let apart = 0;
  for (const run of runs) {
    if (!run.encoder) continue;
    const {of, codes} = run.examples, units = run.units.length;
    shown.filter((example) => example.run === of).slice(0, 4).forEach(({picture}, i) => {
      const own = Kernel.run(run.encoder, Pictures.prepare(run.preprocessing, picture)).data;
      apart = Math.max(apart, ...own.map((value, unit) => Math.abs(value - codes.data[i * units + unit])));
    });
  }
  Explorer.apart = apart;
  const footer = document.getElementById("footer");
  footer.append(
    make("p", {}, `Encoder${live ? "" : " (not in this page)"} and decoder run here, in plain JavaScript; nothing is loaded, and nothing leaves the page. `,
      live ? `Codes of four examples of each run differ from torch's by at most ${apart.toExponential(0)}.` : ""),
    ...runs.map((run) => make("p", {}, `${run.name}: ${run.about} Encoder `, make("code", {}, run.fingerprint), ".")),
    ...contents.notes.map((note) => make("p", {}, note)));

  for (const id of ["desk", "more", "footer"]) document.getElementById(id).hidden = false;
  pick(0);
  if (film) {
    const panel = panels[film.run];
    scene = makeFilm(film, panel, (picture, code, name) => { press(-1); look(picture, name, {[film.run]: code}); });
    const section = document.getElementById("film");
    section.append(...scene.element);
    section.hidden = false;
    scene.go(0);
  }
  status.textContent = "";
  Object.assign(Explorer, {panels, pick, take, look, film: scene, ready: true});
})().catch((error) => {
  document.getElementById("status").textContent = `This page cannot be shown: ${error.message}. It needs a browser of 2023 or later.`;
  Explorer.failed = String(error.stack);
});
