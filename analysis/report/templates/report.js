"use strict";
// What a model wrote reaches the page through textContent alone.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

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

// --- figures: their tooltips at once and on touch, in place of the browser's slow ones ---
function tooltips() {
  const box = document.body.appendChild(make("div", "", "tip"));
  box.hidden = true;
  for (const title of document.querySelectorAll("figure svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  const show = (event) => {
    const mark = event.target.closest?.("[data-tip]");
    box.hidden = !mark;
    if (!mark) return;
    box.textContent = mark.dataset.tip;
    const { left, top, width } = mark.getBoundingClientRect(), wide = box.offsetWidth;
    box.style.left = `${Math.max(4, Math.min(left + width / 2 - wide / 2, innerWidth - wide - 4))}px`;
    box.style.top = `${Math.max(4, top - box.offsetHeight - 6)}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", () => { box.hidden = true; }, { passive: true });
}

// A press on a mark or a legend entry shows that colour alone in its figure; another press shows all again.
function isolate() {
  const colour = (element) => ["fill", "stroke"].map((name) => element?.getAttribute(name)).find((value) => value?.startsWith("#"));
  document.addEventListener("click", (event) => {
    const svg = event.target.closest?.("figure svg");
    if (!svg) return;
    const pressed = colour(event.target.tagName === "text" ? event.target.previousElementSibling : event.target);
    svg.dataset.only = pressed && svg.dataset.only !== pressed ? pressed : "";
    for (const mark of svg.querySelectorAll("[fill^='#'], [stroke^='#']")) {
      mark.style.opacity = svg.dataset.only && colour(mark) !== svg.dataset.only ? "0.08" : "";
    }
  });
  const first = document.querySelector("figure");
  first?.before(make("p", "Point at a mark for its value. Press it, or its entry in a legend, to see that arm alone.", "hint"));
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
  // A base's completions stand beside those of every arm that lost or gained the problem.
  const changed = (r, { change, arm }) => r.base_of.length
    ? Object.entries(r.change).some(([name, what]) => what === change && (!arm || name === arm)) : r.change === change;
  const grow = () => {
    matching.slice(shown, shown + PAGE).forEach((row) => cards.append(card(row)));
    shown = Math.min(shown + PAGE, matching.length);
    more.hidden = shown >= matching.length;
    count.textContent = `${matching.length} of ${rows.length} completions match, ${matching.filter((r) => r.right).length} of them right`;
  };
  const filter = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const text = wanted.text.toLowerCase();
    matching = rows.filter((r) => (!wanted.arm || r.arm === wanted.arm || (wanted.change && r.base_of.includes(wanted.arm)))
      && (!wanted.change || changed(r, wanted)) && (!wanted.problem || r.problem === wanted.problem)
      && (!wanted.grade || grade[wanted.grade](r)) && (!wanted.kind || kind[wanted.kind](r)) && (!text || `${r.text}\n${r.question ?? ""}`.toLowerCase().includes(text)));
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
  const question = row.question == null ? "" : make("p", row.question, "question");
  const reference = row.reference != null && `reference ${row.reference}`;
  const steps = row.steps ? `${row.steps} checked ${row.steps === 1 ? "step" : "steps"}, ${row.wrong} wrong` : "no steps";
  const answer = row.answer === null || row.answer === undefined ? "no answer found" : `answer ${row.answer}`;
  element.append(head, question, text, make("footer", [reference, answer, row.reason === answer ? "" : row.reason, steps, row.tokens != null && `${row.tokens} tokens`, row.cut && "cut short"].filter(Boolean).join(" · ")));
  return element;
}

showHere();
browse();
tooltips();
isolate();
