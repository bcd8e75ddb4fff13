// A run: its code as sliders, and what its decoder draws of it.
"use strict";
const KEYPOINT_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999"];

function dots(interactive, label) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "-1 -1 2 2");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.style.cssText = "position:absolute;inset:0;width:100%;height:100%;overflow:visible";
  if (!interactive) svg.style.pointerEvents = "none";
  return svg;
}

function drawDots(svg, keypoints, onMove) {
  keypoints.forEach(({x, y, presence, name, colour}, k) => {
    let mark = svg.children[k];
    if (!mark) {
      mark = document.createElementNS(svg.namespaceURI, "g");
      mark.innerHTML = `<circle r=".1" fill="transparent" stroke="${colour}" stroke-width=".035"/>` +
        '<text font-size=".13" text-anchor="middle" dy=".045" fill="#fff" stroke="#000" stroke-width=".03" paint-order="stroke"></text>';
      mark.lastChild.textContent = name;
      if (onMove) {
        mark.style.cssText = "cursor:grab;touch-action:none";
        mark.addEventListener("pointerdown", (event) => { mark.setPointerCapture(event.pointerId); event.preventDefault(); });
        mark.addEventListener("pointermove", (event) => {
          if (!mark.hasPointerCapture(event.pointerId)) return;
          const box = svg.getBoundingClientRect();
          const place = (from, size) => Math.max(-1, Math.min(1, 2 * from / size - 1));
          onMove(k, place(event.clientX - box.left, box.width), place(event.clientY - box.top, box.height));
        });
      }
      svg.append(mark);
    }
    mark.setAttribute("transform", `translate(${x} ${y})`);
    mark.style.opacity = presence;
    mark.style.pointerEvents = onMove && presence > 0.1 ? "auto" : "none";
  });
}

function makePanel(run, onChange) {
  const D = run.units.length, K = run.keypoints;
  // what sliders hold: the code itself, or (x, y, presence) of every keypoint and how it looks, all x first as in the code
  let values = new Float32Array(D), own = new Float32Array(D), ownCode = new Float32Array(D), prepared = null;
  let zeroed = new Set(), made = null;

  const gated = (i) => i < 2 * K || i >= 3 * K;
  const split = (code) => (K ? code.map((value, i) => (gated(i) ? value / Math.max(code[2 * K + i % K], run.absent) : value)) : code.slice());
  const join = () => (K ? values.map((value, i) => (gated(i) ? value * values[2 * K + i % K] : value)) : values.slice());

  function code() {
    const found = values.every((value, i) => value === own[i]) ? ownCode.slice() : join();
    for (const group of zeroed) for (const unit of group.units) found[unit] = 0;
    return found;
  }

  function decode(of) {
    const {data, shape} = Kernel.run(run.decoder, {data: of, shape: [D]});
    return {data: data.slice(), shape};
  }

  // ---- sliders
  const controls = new Map();
  const axes = ["across", "down", "present"];
  function row(group, unit, name) {
    const {low, high} = run.units[unit];
    const step = (high - low) / 200 || 0.01;
    const spoken = `${group.name}${K ? `, ${name}` : ""}${group.tells ? `, tells ${group.tells}` : ""}`;
    const input = make("input", {type: "range", min: low, max: high, step: "any", "aria-label": `${run.name}: ${spoken}`,
      "data-unit": unit, oninput: () => set(unit, Number(input.value))});
    // with step "any" the arrow keys of browsers jump far: one key is a hundredth of the range, ten with page keys
    input.addEventListener("keydown", (event) => {
      const steps = {ArrowRight: 2, ArrowUp: 2, ArrowLeft: -2, ArrowDown: -2, PageUp: 20, PageDown: -20}[event.key];
      if (steps === undefined) return;
      event.preventDefault();
      set(unit, Math.max(low, Math.min(high, values[unit] + steps * step)));
    });
    const mark = make("span", {class: "mark", title: "the value of this image"});
    const value = make("output", {class: "value"});
    const back = make("button", {class: "back", type: "button", "aria-label": `put ${spoken} back`, title: "put back",
      onclick: () => { set(unit, own[unit]); input.focus(); }}, "↺");
    const label = make("span", {class: "name"}, K ? name : group.name);
    if (!K && group.tells) label.append(make("span", {class: "tells"}, group.tells));
    if (!K) {
      const strength = make("div", {class: "strength", title: group.strength_in_words});
      strength.style.width = `${100 * group.share}%`;
      label.append(strength);
    }
    const element = make("div", {class: "unit"}, label, make("div", {class: "rail"}, input, mark), value, back);
    controls.set(unit, {element, input, mark, value, group, low, high});
    return element;
  }
  const blocks = new Map();
  function rows(group) {
    if (!K) return row(group, group.units[0], "");
    const dot = make("span", {class: "dot"});
    dot.style.background = colour(group.units[0]);
    const block = make("div", {class: "group"}, make("div", {class: "name"}, dot, make("b", {}, group.name), group.tells ? make("span", {class: "tells"}, group.tells) : null),
      make("div", {class: "triple"}, ...group.units.map((unit, i) => row(group, unit, axes[i] ?? `look ${i - 2}`))));
    blocks.set(group, block);
    return block;
  }
  const colour = (k) => KEYPOINT_COLOURS[k % KEYPOINT_COLOURS.length];

  function set(unit, value) {
    values[unit] = value;
    update();
  }

  const alive = run.groups.filter((group) => group.active), dead = run.groups.filter((group) => !group.active);
  const sliders = make("div", {}, ...alive.map(rows));
  if (dead.length) {
    const noun = K ? "keypoint" : "unit";
    sliders.append(make("details", {}, make("summary", {}, `${dead.length} dead ${noun}${dead.length > 1 ? "s" : ""}, whose numbers hardly vary`), ...dead.map(rows)));
  }

  // ---- zeroing the weakest
  const most = run.groups.length;
  const keep = make("input", {type: "range", class: "wide", min: 0, max: most, step: 1, value: 0, "aria-label": `${run.name}: how many of the weakest ${K ? "keypoints" : "units"} are set to 0`, oninput: zero});
  const order = make("select", {"aria-label": `${run.name}: which are the weakest`, onchange: zero},
    make("option", {value: "all"}, "weakest over all images"), make("option", {value: "image"}, "smallest in this image"));
  const kept = make("output", {});
  function zero() {
    const size = (group) => Math.max(...group.units.slice(K ? 2 : 0).map((unit) => Math.abs(ownCode[unit])));
    const weakest = order.value === "all" ? [...run.groups].reverse() : [...run.groups].sort((a, b) => size(a) - size(b));
    zeroed = new Set(weakest.slice(0, Number(keep.value)));
    update();
  }

  // ---- pictures
  const reconstruction = make("canvas", {class: "large", role: "img", "aria-label": `${run.name}: reconstruction`});
  const difference = make("canvas", {class: "large", role: "img", "aria-label": `${run.name}: difference to the image`});
  const error = make("p", {class: "note"});
  const handles = K ? dots(true, `${run.name}: keypoints of the reconstruction; drag them, or use the sliders`) : null;
  const reset = make("button", {type: "button", onclick: () => { values = own.slice(); keep.value = 0; zero(); }}, "Put all back");
  const element = make("section", {class: "run card", "aria-label": run.name},
    make("div", {class: "head"}, make("h2", {}, make("span", {class: "step"}, "2"), run.several ? `${run.name}: ${run.heading}` : `Its code: ${run.heading}`), reset),
    make("div", {},
      sliders,
      make("div", {class: "keep"}, make("b", {}, "What sparsity keeps: "), "set the weakest to 0: ", kept, keep, order)),
    make("div", {class: "pictures"},
      make("div", {}, make("h3", {}, make("span", {class: "step"}, "3"), "The decoder draws"), make("div", {class: "canvas"}, reconstruction, handles),
        K ? make("p", {class: "note"}, "Drag a keypoint.") : null),
      make("div", {}, make("h3", {}, "Difference"), difference, error,
        make("p", {class: "note"}, make("span", {class: "legend", style: "background:#d55e00"}), "too bright ", make("span", {class: "legend", style: "background:#0072b2"}), "too dark"))));
  difference.classList.add("framed");

  function update() {
    const now = code();
    made = decode(now);
    Pictures.show(reconstruction, Pictures.ofTensor(made));
    const mean = Pictures.showDifference(difference, made, prepared);
    error.textContent = `${(100 * mean).toFixed(1)} % off on average`;
    for (const [unit, {element: line, input, mark, value, group, low, high}] of controls) {
      const changed = values[unit] !== own[unit];
      input.value = values[unit];
      input.setAttribute("aria-valuetext", values[unit].toFixed(2) + (changed ? `, ${own[unit].toFixed(2)} in this image` : ""));
      const share = Math.max(0, Math.min(1, (own[unit] - low) / (high - low || 1)));
      mark.style.left = `calc(8px + (100% - 16px) * ${share})`;
      value.textContent = (zeroed.has(group) ? 0 : values[unit]).toFixed(2);
      line.classList.toggle("changed", changed);
      line.classList.toggle("zeroed", zeroed.has(group));
    }
    for (const [group, block] of blocks) block.classList.toggle("absent", now[group.units[2]] < 0.05);
    kept.textContent = zeroed.size ? `${zeroed.size} of ${most}, ${most - zeroed.size} stay` : `none of ${most}`;
    if (handles) drawDots(handles, keypoints(now), (k, x, y) => { values[k] = x; values[K + k] = y; update(); });
    onChange(panel);
  }

  function keypoints(of) {
    const parts = split(of);
    return Array.from({length: K}, (_, k) => ({x: parts[k], y: parts[K + k], presence: parts[2 * K + k], name: k, colour: colour(k)}));
  }

  const panel = {
    run, element, code, decode, set, controls,
    get values() { return values; },
    get start() { return own; },
    get own() { return ownCode; },
    get untouched() { return !zeroed.size && values.every((value, i) => value === own[i]); },
    get made() { return made; },
    get prepared() { return prepared; },
    get ownKeypoints() { return K ? keypoints(ownCode) : []; },
    // a picture; `found`: its code, where the page need not or cannot compute it
    look(picture, found = null) {
      prepared = Pictures.prepare(run.preprocessing, picture);
      ownCode = found ? Float32Array.from(found) : Kernel.run(run.encoder, prepared).data.slice();
      own = split(ownCode);
      values = own.slice();
      zero();
    },
  };
  return panel;
}
