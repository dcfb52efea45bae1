"use strict";
// What a model wrote reaches the page through textContent alone.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
const nonce = document.currentScript.nonce;

function showHere() {
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((a) => a.classList.remove("here"));
      links.get(entry.target.id)?.classList.add("here");
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  links.forEach((_, id) => seen.observe(document.getElementById(id)));
}

// --- figures: the still ones are shown until the library has been unpacked ---
const FIGURES = read("figures");
const drawn = [];

async function unpack() {
  const packed = document.getElementById("library");
  if (!packed || typeof DecompressionStream === "undefined") return false;
  const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
  const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const script = document.createElement("script");
  script.nonce = nonce;
  script.textContent = text;
  document.head.append(script);
  packed.remove();
  return typeof Plotly !== "undefined";
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const MANY = 5; // of more lines in one panel, the one whose name is pointed at stands out
const narrow = () => window.innerWidth < 600;

function themed(layout) {
  const text = colour("--text"), soft = colour("--soft"), grid = colour("--grid");
  const axis = (a) => ({ ...a, exponentformat: "power", minexponent: 5, gridcolor: grid, zerolinecolor: soft, linecolor: soft, tickfont: { color: soft, size: narrow() ? 10 : 12 },
    title: { ...a.title, font: { color: soft, size: narrow() ? 11 : 13 }, standoff: 8 } });
  return { ...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis), font: { color: text, family: getComputedStyle(document.body).fontFamily },
    title: layout.title && { ...layout.title, font: { size: 13, color: text }, x: 0, xanchor: "left", xref: "paper", y: 1, yanchor: "bottom", yref: "paper", pad: { b: 8 + 16 * (layout.title.text.split("<br>").length - 1) } },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: layout.margin ?? { l: 54, r: 12, t: layout.title ? 34 : 12, b: 44 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: text }, hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: text } }, dragmode: narrow() ? false : "zoom" };
}

function themedData(data) {
  const text = colour("--text");
  return data.map((trace) => trace.type === "bar" && trace.error_y ? { ...trace, error_y: { ...trace.error_y, color: text } }
    : trace.colorbar ? { ...trace, colorbar: { ...trace.colorbar, tickfont: { color: text }, title: { ...trace.colorbar.title, font: { color: text } } } } : trace);
}

function plot(figure) {
  const spec = FIGURES[figure.dataset.figure];
  const live = figure.querySelector(".live");
  live.hidden = false;
  live.classList.toggle("many", spec.panels.length > 1);
  live.classList.toggle("small", spec.small === true);
  // All places first: a panel drawn while it is alone in the grid would take the whole row.
  const places = spec.panels.map(() => make("div"));
  live.append(...places);
  for (const [i, panel] of spec.panels.entries()) {
    const place = places[i];
    Plotly.newPlot(place, themedData(panel.data), themed(panel.layout), { responsive: true, displaylogo: false, displayModeBar: "hover",
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] });
    drawn.push([place, panel]);
  }
  legend(figure, spec, live);
  figure.querySelector(".still").style.display = "none";
}

function legend(figure, spec, live) {
  if (!spec.keys.length) return;
  const keys = figure.querySelector(".keys");
  keys.hidden = false;
  for (const key of spec.keys) {
    const button = make("button");
    const line = make("i");
    if (key.point) {
      line.textContent = key.point;
      line.className = "point";
      line.style.color = key.colour;
    } else line.style.borderTop = `${key.stroke === "solid" ? 3 : 2}px ${key.stroke} ${key.colour}`;
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(line, key.label);
    const named = (t) => t.meta === key.label || t.meta === `${key.label}: base`;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(on));
      for (const place of live.children) {
        const which = place.data.flatMap((t, i) => (named(t) ? [i] : []));
        if (which.length) Plotly.restyle(place, { visible: on }, which);
      }
    });
    const emphasise = (on) => {
      for (const place of live.children) Plotly.restyle(place, { opacity: place.data.map((t) => (on && !named(t) ? 0.12 : 1)) });
    };
    for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
      button.addEventListener(event, () => spec.keys.length > MANY && emphasise(on));
    }
    keys.append(button);
  }
}

async function plotAll() {
  if (!Object.keys(FIGURES).length || !(await unpack())) return;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      plot(entry.target);
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("figure[data-figure]").forEach((figure) => seen.observe(figure));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [place, panel] of drawn) {
      const shown = place.data.map((trace) => trace.visible);
      Plotly.react(place, themedData(panel.data).map((trace, i) => ({ ...trace, visible: shown[i] })), themed(panel.layout));
    }
  });
  document.documentElement.dataset.live = "yes";
}

// --- completions ---
function browse() {
  const rows = read("samples");
  const form = document.querySelector(".filters");
  if (!form || !rows.length) return;
  const cards = document.querySelector(".cards"), count = document.querySelector(".count"), more = document.querySelector(".more");
  for (const name of ["arm", "problem"]) {
    for (const value of new Set(rows.map((row) => row[name]))) {
      const option = make("option", value);
      option.value = value;
      form.elements[name].append(option);
    }
  }
  const PAGE = 12;
  let matching = [], shown = 0;
  const grade = { right: (r) => r.right, wrong: (r) => !r.right, unsound: (r) => r.right && r.wrong > 0 };
  const kind = { steps: (r) => r.steps > 0, direct: (r) => r.steps === 0, cut: (r) => r.cut };
  const grow = () => {
    matching.slice(shown, shown + PAGE).forEach((row) => cards.append(card(row)));
    shown = Math.min(shown + PAGE, matching.length);
    more.hidden = shown >= matching.length;
    count.textContent = `${matching.length} of ${rows.length} completions match, ${matching.filter((r) => r.right).length} of them right`;
  };
  const filter = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const text = wanted.text.toLowerCase();
    matching = rows.filter((r) => (!wanted.arm || r.arm === wanted.arm) && (!wanted.problem || r.problem === wanted.problem)
      && (!wanted.grade || grade[wanted.grade](r)) && (!wanted.kind || kind[wanted.kind](r)) && (!text || r.text.toLowerCase().includes(text)));
    cards.replaceChildren();
    shown = 0;
    grow();
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", grow);
  filter();
}

// Statements that the step check verified, each in a <mark>; offsets count characters, not UTF-16 units.
function marked(row) {
  const characters = [...row.text], parts = [];
  let from = 0;
  for (const [start, end, right] of row.marks) {
    const mark = make("mark", characters.slice(start, end).join(""), right ? "right" : "wrong");
    mark.title = right ? "checked: right" : "checked: wrong";
    parts.push(characters.slice(from, start).join(""), mark);
    from = end;
  }
  return [...parts, characters.slice(from).join("")];
}

function card(row) {
  const element = make("article", undefined, "card");
  const head = make("header");
  head.append(make("span", row.right ? "✓ right" : "✗ wrong", `grade ${row.right ? "right" : "wrong"}`), make("strong", row.arm),
    make("span", `seed ${row.seed}, ${row.sample}`, "soft"), make("span", row.problem, "soft"));
  const text = make("pre");
  text.append(...marked(row), row.more ? `\n… ${row.more} more characters` : "");
  const steps = row.steps ? `${row.steps} checked ${row.steps === 1 ? "step" : "steps"}, ${row.wrong} wrong` : "no steps";
  const answer = row.answer === null || row.answer === undefined ? "no answer found" : `answer ${row.answer}`;
  element.append(head, text, make("footer", [answer, row.reason === answer ? "" : row.reason, steps, row.tokens != null && `${row.tokens} tokens`, row.cut && "cut short"].filter(Boolean).join(" · ")));
  return element;
}

showHere();
browse();
(window.requestIdleCallback || setTimeout)(plotAll);
