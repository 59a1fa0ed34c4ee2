// The sliders and plots of the page Play. Everything shown is looked up in the tables that docs/play.py computed.
"use strict";

(() => {
  const tables = JSON.parse(document.getElementById("play-tables").textContent);
  const height = 260; // pixels
  const colour = name => getComputedStyle(document.body).getPropertyValue(name).trim();
  const lookUp = (table, at) => table.by.reduce((data, name) => data[at[name]], table.data);

  function add(parent, tag, attributes = {}, text = "") {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return parent.appendChild(made);
  }

  function values(panel, at) {
    const ys = panel.lines.map(line => {
      const y = lookUp(line.y, at);
      if (!line.only) return y;
      const kept = new Set(lookUp(line.only, at));
      return y.map((value, i) => (kept.has(i) ? value : null));
    });
    return [panel.x.values, ...ys];
  }

  function series(line) {
    const point = line.only !== undefined;
    return {
      stroke: () => colour(`--play-${line.colour}`),
      width: point && !line.joined ? 0 : line.wide ? 5 : line.thin ? 1 : 2.5,
      dash: line.dash ? [8, 5] : line.thin ? [2, 3] : undefined,
      paths: line.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      spanGaps: line.joined === true,
      points: { show: point, size: 11, fill: () => colour(`--play-${line.colour}`) },
    };
  }

  function legend(place, panel) {
    const list = add(place, "ul", { class: "play-legend" });
    for (const line of panel.lines.filter(line => line.label)) {
      const look = `play-${line.colour} play-${line.dash ? "dashed" : line.only ? "points" : "solid"}`;
      add(list, "li", { class: look }, line.label);
    }
  }

  function plot(place, panel, at) {
    const axis = (part, more) => ({
      label: part.title,
      stroke: () => colour("--color-foreground-primary"),
      grid: { stroke: () => colour("--color-background-border"), width: 1 },
      ticks: { show: false },
      ...more,
    });
    const box = add(place, "div", { class: "play-plot", role: "img", "aria-label": panel.describe });
    const size = () => ({ width: box.clientWidth, height });
    const drawn = new uPlot(
      {
        ...size(),
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false, range: panel.x.range }, y: { range: panel.y.range } },
        axes: [axis(panel.x, {}), axis(panel.y, { size: 44 })],
        series: [{}, ...panel.lines.map(series)],
      },
      values(panel, at),
      box,
    );
    legend(place, panel);
    new ResizeObserver(() => drawn.setSize(size())).observe(box);
    const redraw = () => drawn.redraw();
    new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    return () => drawn.setData(values(panel, at));
  }

  function figure(place, name) {
    const { sliders, panels, said } = tables[name];
    const at = Object.fromEntries(sliders.map(slider => [slider.name, slider.start]));
    const bars = sliders.map(slider => {
      const row = add(place, "div", { class: "play-slider" });
      const id = `play-${name}-${slider.name}`;
      add(row, "label", { for: id }, slider.label);
      const shown = add(row, "output", { for: id });
      const bar = add(row, "input", { type: "range", id, min: 0, max: slider.values.length - 1, step: 1 });
      bar.value = slider.start;
      return { bar, shown, slider };
    });
    const words = add(place, "p", { class: "play-said", "aria-live": "polite" });
    const pair = add(place, "div", { class: "play-panels" });
    const update = panels.map(panel => plot(add(pair, "div"), panel, at));
    const say = () => {
      for (const { bar, shown, slider } of bars) {
        shown.textContent = slider.values[at[slider.name]];
        bar.setAttribute("aria-valuetext", shown.textContent);
      }
      words.textContent = said.text.replace(/\{(\w+)\}/g, (_, key) => lookUp(said.numbers[key], at));
    };
    for (const { bar, slider } of bars) {
      bar.addEventListener("input", () => {
        at[slider.name] = Number(bar.value);
        say();
        update.forEach(draw => draw());
      });
    }
    say();
  }

  for (const place of document.querySelectorAll(".play[data-figure]")) figure(place, place.dataset.figure);
})();
