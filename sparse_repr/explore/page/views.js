// Below a run: what each unit does to the picture, and which factors it tells.
"use strict";
function makeStrips(panel) {
  const {run} = panel, K = run.keypoints, steps = 9, [high, wide] = run.preprocessing.network_size;
  const shown = run.groups.filter((group) => group.active)
    .flatMap((group) => (K ? group.units.slice(0, 2) : group.units).map((unit, i) => ({unit, name: K ? `${group.name}, ${["across", "down"][i]}` : group.name, tells: group.tells})))
    .slice(0, K ? 12 : 16);
  const lines = shown.map(({unit, name, tells}) => {
    const [from, to] = run.traversals[unit];
    const canvas = make("canvas", {role: "img", "aria-label": `${run.name}: the picture while ${name} goes from ${from.toFixed(1)} to ${to.toFixed(1)}`,
      title: "click: take this value", width: (wide + 2) * steps - 2, height: high, onclick: (event) => {
        const place = Math.floor(steps * event.offsetX / canvas.clientWidth);
        panel.set(unit, from + (to - from) * Math.max(0, Math.min(steps - 1, place)) / (steps - 1));
      }});
    return {unit, from, to, canvas, element: make("div", {class: "strip"}, make("span", {}, name, tells ? make("span", {class: "tells note"}, ` ${tells}`) : null), canvas)};
  });
  const element = make("section", {class: "card", "aria-label": `${run.name}: traversals`},
    make("div", {class: "head"}, make("h2", {}, `What each ${K ? "keypoint" : "unit"} does${run.several ? ` · ${run.name}` : ""}`)),
    make("p", {class: "note"}, "Each row moves one number through its range and leaves the others. Click a picture to take its value."),
    ...lines.map((line) => line.element));

  let ticket = 0;
  async function draw() {
    const mine = ++ticket;
    for (const {unit, from, to, canvas} of lines) {
      await new Promise((resolve) => setTimeout(resolve, 0)); // sliders come first
      if (mine !== ticket) return;
      const context = canvas.getContext("2d");
      for (let step = 0; step < steps; step++) {
        const code = panel.code(), value = from + (to - from) * step / (steps - 1);
        if (K) {
          // a keypoint that is absent has no place: it is shown as present
          code[2 * K + unit % K] = Math.max(code[2 * K + unit % K], 0.95);
          code[unit] = value * code[2 * K + unit % K];
        } else code[unit] = value;
        const {rgba} = Pictures.ofTensor(panel.decode(code));
        context.putImageData(new ImageData(rgba, wide, high), step * (wide + 2), 0);
      }
    }
  }
  let waiting = null;
  return {element, later() { clearTimeout(waiting); waiting = setTimeout(draw, 250); }};
}

function makeTable(run) {
  const {factors, entropies, matrix, how} = run.information, K = run.keypoints;
  const groups = run.groups.filter((group) => group.active).slice(0, 24);
  const best = (k, group) => Math.max(...group.units.map((unit) => matrix[k][unit]));
  const cells = (k) => groups.map((group) => {
    const nats = best(k, group), share = Math.max(0, Math.min(1, nats / entropies[k]));
    const cell = make("td", {title: `${(100 * share).toFixed(0)} % of ${factors[k]}`}, Math.max(0, nats).toFixed(2));
    cell.style.background = `color-mix(in srgb, var(--blue) ${Math.round(85 * share)}%, transparent)`;
    if (share > 0.55) cell.style.color = "var(--card)";
    return cell;
  });
  return make("section", {class: "card", "aria-label": `${run.name}: factors`},
    make("div", {class: "head"}, make("h2", {}, `Which factors it tells${run.several ? ` · ${run.name}` : ""}`)),
    make("p", {class: "note"}, `Mutual information in nats; full blue: all of the factor. ${how}`),
    make("div", {class: "scroll", tabindex: 0, role: "group", "aria-label": "table, scrolls sideways"}, make("table", {},
      make("thead", {}, make("tr", {}, make("th", {scope: "col"}, `factor \\ ${K ? "keypoint" : "unit"}`), ...groups.map((group) => make("th", {scope: "col", "aria-label": group.name}, group.name.split(" ").pop())))),
      make("tbody", {}, ...factors.map((name, k) => make("tr", {}, make("th", {scope: "row"}, name), ...cells(k)))))));
}
