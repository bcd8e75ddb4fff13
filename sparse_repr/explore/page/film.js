// A film of an agent: frames, codes and actions over time, and what it would do if a unit were another.
"use strict";
function makeFilm(film, panel, onFrame) {
  const {run} = panel, T = film.frames.shape[0], [, C, H, W] = film.frames.shape, D = film.codes.shape[1], A = film.actions.shape[1];
  const policy = film.policy, discrete = film.kind === "choice";
  let place = 0, timer = null;

  const codeAt = (t) => film.codes.data.subarray(t * D, (t + 1) * D);
  const actionAt = (t) => film.actions.data.subarray(t * A, (t + 1) * A);
  const nameOf = (action) => film.action_names[action] ?? `action ${action}`;

  // what the policy makes of the last codes, the newest of which is `newest`
  function answer(t, newest) {
    const start = t - film.steps[t], shown = [];
    for (let back = policy.n_stack - 1; back >= 0; back--) {
      const at = Math.max(t - back, start, 0);
      const code = at === t ? newest : codeAt(at);
      shown.push(...Kernel.run(policy.features, {data: code, shape: [D]}).data);
    }
    return Kernel.run(policy.layers, {data: Float32Array.from(shown), shape: [shown.length]}).data.slice();
  }
  // numbers to show and the action itself
  function decide(t, newest) {
    const out = answer(t, newest);
    if (!discrete) return {shown: out, action: out};
    const best = out.indexOf(Math.max(...out));
    if (film.policy.scores === "values") return {shown: out, action: best};
    const largest = Math.max(...out), powers = out.map((x) => Math.exp(x - largest)), total = powers.reduce((a, b) => a + b, 0);
    return {shown: powers.map((x) => x / total), action: best};
  }

  // ---- frame and time
  const frame = make("canvas", {class: "frame", role: "img", "aria-label": "frame that the agent sees"});
  const now = make("p", {class: "now", "aria-live": "off"});
  const scrub = make("input", {type: "range", class: "wide", min: 0, max: T - 1, step: 1, value: 0, "aria-label": "frame of the film", oninput: () => go(Number(scrub.value))});
  const play = make("button", {type: "button", class: "main", onclick: toggle}, "▶ Play");
  function toggle() {
    if (timer) { clearInterval(timer); timer = null; } else timer = setInterval(() => go((place + 1) % T), 120);
    play.textContent = timer ? "❚❚ Pause" : "▶ Play";
    verdict.setAttribute("aria-live", timer ? "off" : "polite"); // nobody wants every frame read out
  }

  // ---- codes over time: orange above 0, blue below
  const groups = run.groups.filter((group) => group.active).slice(0, 16);
  const lanes = groups.flatMap((group) => (run.keypoints ? group.units.slice(0, 2) : group.units));
  const lane = lanes.length > 12 ? 6 : 9, wide = Math.max(2, Math.floor(640 / T)), band = discrete ? 10 : 30;
  const chart = make("canvas", {class: "chart", role: "img", "aria-label": `code over time, a row for each of ${lanes.length} units, and the action below`,
    onclick: (event) => go(Math.floor(T * event.offsetX / chart.clientWidth))});
  const height = lanes.length * lane + 4 + (discrete ? band : band * A);
  const drawn = new OffscreenCanvas(T * wide, height);
  (() => {
    const context = drawn.getContext("2d");
    lanes.forEach((unit, row) => {
      const mean = run.keypoints ? 0 : run.units[unit].mean;
      let most = 1e-6;
      for (let t = 0; t < T; t++) most = Math.max(most, Math.abs(codeAt(t)[unit] - mean));
      for (let t = 0; t < T; t++) {
        const value = (codeAt(t)[unit] - mean) / most;
        context.fillStyle = value > 0 ? `rgba(213,94,0,${value})` : `rgba(0,114,178,${-value})`;
        context.fillRect(t * wide, row * lane, wide, lane - 1);
      }
    });
    const top = lanes.length * lane + 4;
    for (let t = 0; t < T; t++) {
      if (discrete) {
        context.fillStyle = KEYPOINT_COLOURS[actionAt(t)[0] % KEYPOINT_COLOURS.length];
        context.fillRect(t * wide, top, wide, band - 2);
      } else {
        for (let a = 0; a < A; a++) {
          const share = (actionAt(t)[a] - film.low[a]) / (film.high[a] - film.low[a] || 1);
          context.fillStyle = "#888";
          context.fillRect(t * wide, top + a * band + band / 2, wide, 1);
          context.fillStyle = KEYPOINT_COLOURS[(4 + a) % KEYPOINT_COLOURS.length];
          context.fillRect(t * wide, top + a * band + (1 - share) * (band - 3), wide, 3);
        }
      }
      if (film.steps[t] === 0 && t) {
        context.fillStyle = "#888";
        context.fillRect(t * wide, 0, 1, height);
      }
    }
  })();
  function drawChart() {
    chart.width = drawn.width;
    chart.height = drawn.height;
    const context = chart.getContext("2d");
    context.drawImage(drawn, 0, 0);
    context.strokeStyle = getComputedStyle(document.body).color;
    context.lineWidth = 2;
    context.strokeRect(place * wide - 0.5, 0, wide + 1, drawn.height);
  }

  // ---- the action
  const bars = [], shownNames = discrete ? (policy ? Array.from({length: policy.outputs}, (_, a) => nameOf(a)) : []) : Array.from({length: A}, (_, a) => film.action_names[a] ?? `number ${a}`);
  const action = make("div", {class: "action"}, make("h3", {}, discrete ? (policy?.scores === "values" ? "What it expects of each action" : "What it would do") : "Its action"));
  for (const name of shownNames) {
    const fill = make("i"), tick = make("b", {title: "in the film"}), number = make("span", {class: "number"});
    const line = make("div", {class: "bar"}, make("span", {class: "name"}, name), make("div", {class: "track"}, fill, tick), number);
    bars.push({line, fill, tick, number});
    action.append(line);
  }
  const verdict = make("p", {class: "verdict", role: "status"});
  action.append(verdict);
  if (film.note) action.append(make("p", {class: "note"}, film.note));

  function drawBars() {
    const recorded = actionAt(place);
    const before = policy ? decide(place, codeAt(place)) : {shown: recorded, action: discrete ? recorded[0] : recorded};
    const after = policy ? decide(place, panel.code()) : before;
    const values = [...before.shown, ...after.shown];
    const low = !discrete ? film.low : policy?.scores === "values" ? Array(bars.length).fill(Math.min(...values)) : Array(bars.length).fill(0);
    const high = !discrete ? film.high : policy?.scores === "values" ? Array(bars.length).fill(Math.max(...values)) : Array(bars.length).fill(1);
    bars.forEach(({line, fill, tick, number}, a) => {
      const share = (value) => 100 * Math.max(0, Math.min(1, (value - low[a]) / (high[a] - low[a] || 1)));
      const zero = discrete ? 0 : share(0), to = share(after.shown[a]);
      fill.style.left = `${Math.min(zero, to)}%`;
      fill.style.width = `${Math.abs(to - zero)}%`;
      tick.style.left = `${share(before.shown[a])}%`;
      number.textContent = after.shown[a].toFixed(2);
      line.classList.toggle("best", discrete && a === after.action);
    });
    const changed = [...panel.controls].filter(([unit]) => panel.values[unit] !== panel.start[unit]);
    const what = changed.length === 1 ? `With ${changed[0][1].group.name} ${run.keypoints ? "moved" : `at ${panel.values[changed[0][0]].toFixed(2)}`}` : "With this code";
    let turned = false;
    const filmed = panel.own.every((value, i) => value === codeAt(place)[i]);
    if (!policy) verdict.textContent = discrete ? `It does ${nameOf(recorded[0])}.` : "";
    else if (!filmed) verdict.textContent = discrete ? `On this image it would do ${nameOf(after.action)}.` : "What it would do on this image; the upright mark is the frame of the film.";
    else if (panel.untouched) verdict.textContent = discrete ? `It does ${nameOf(before.action)}. Move a unit below: what if it were another?` : "Move a unit below: what if it were another? The upright mark stays at what it did.";
    else if (discrete) {
      turned = after.action !== before.action;
      verdict.textContent = turned ? `${what} it would do ${nameOf(after.action)} instead of ${nameOf(before.action)}.` : `${what} it would still do ${nameOf(before.action)}.`;
    } else {
      const moved = Math.max(...before.shown.map((value, a) => Math.abs(value - after.shown[a]) / (film.high[a] - film.low[a])));
      turned = moved > 0.1;
      verdict.textContent = `${what} its action moves by ${(100 * moved).toFixed(0)} % of the range.`;
    }
    verdict.classList.toggle("turned", turned);
  }

  function go(t) {
    place = Math.max(0, Math.min(T - 1, t));
    scrub.value = place;
    scrub.setAttribute("aria-valuetext", `frame ${place + 1} of ${T}, step ${film.steps[place]} of its episode`);
    const size = C * H * W, picture = Pictures.ofBytes(film.frames.data.subarray(place * size, (place + 1) * size), C, H, W);
    Pictures.show(frame, picture);
    now.textContent = `step ${film.steps[place]}, return ${film.returns[place].toFixed(2)}`;
    onFrame(picture, codeAt(place), `frame ${place + 1} of the film`);
    drawChart();
    drawBars();
  }

  const element = [
    make("div", {class: "head"}, make("h2", {}, `An agent at work: ${film.caption}`), make("span", {class: "note"}, `${T} frames`)),
    make("div", {class: "player"},
      make("div", {}, frame, now),
      make("div", {}, make("div", {class: "controls"}, play, scrub), chart,
        make("p", {class: "note"}, `Rows: ${run.keypoints ? "places of the keypoints" : "units, strongest first"}`, make("span", {class: "legend", style: "background:#d55e00"}), "high",
          make("span", {class: "legend", style: "background:#0072b2"}), `low. Below: the action${discrete ? ", a colour each" : ""}.`)),
      action)];
  return {element, go, changed: drawBars, decide, toggle, get place() { return place; }};
}
