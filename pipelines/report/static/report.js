// The gallery and the attention. Opened from disk, a page may neither fetch files nor import modules, but may add scripts: each piece of data is a script that
// calls cmcl.put. Everything from data becomes text nodes or attributes of images below this folder; nothing is ever parsed as markup.
(function () {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const GROUPS = ["kind", "why", "refused", "source", "outcome"];
  const KEYS = ["q", ...GROUPS, "score", "from", "to", "sort"];
  const FIRST = 5, PAGE = 30, FOLD = 900;
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/u;
  let meta = null, found = [], shown = 0, state = {}, current = -1;
  const all = { ids: [], captions: [], images: [], lower: [], facets: [], scores: [], at: new Map() };
  const parts = new Map(), waiting = new Map();

  window.cmcl = {
    put(name, number, value) {
      const key = name + number;
      parts.set(key, value);
      if (name === "meta") begin(value);
      else if (name === "attention") attention(value);
      else if (waiting.has(key)) waiting.get(key)();
    },
  };

  function load(name, number, path) {
    const key = name + number;
    return new Promise((done, failed) => {
      if (parts.has(key)) return done(parts.get(key));
      const script = document.createElement("script");
      waiting.set(key, () => done(parts.get(key)));
      script.onerror = () => failed(new Error(path + " is missing from the report's folder"));
      script.src = path;
      document.head.append(script);
    });
  }

  const padded = (number, digits) => String(number).padStart(digits, "0");
  const piece = (number) => load("piece", number, `data/${padded(Math.floor(number / 1000), 3)}/piece-${padded(number, 6)}.js`);
  const thumbnail = (kind, number) => `${kind}/${padded(Math.floor(number / 1000), 3)}/${number}.jpg`;
  const words = (name) => name.replaceAll("_", " ");
  const commas = (number) => number.toLocaleString("en");

  function bits(text) {
    return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  }
  const bit = (held, at) => (held[at >> 3] >> (at & 7)) & 1;

  // Elements

  function make(name, properties, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key in made && key !== "list") made[key] = value;
      else made.setAttribute(key, value);
    }
    for (const child of children) if (child !== null && child !== undefined) typeof child === "string" ? say(made, child) : made.append(child);
    return made;
  }

  function say(parent, text) {
    if (!HIDDEN.test(text)) return void parent.append(text);
    let plain = "";
    for (const sign of text) {
      if (!HIDDEN.test(sign)) {
        plain += sign;
        continue;
      }
      if (plain) parent.append(plain);
      plain = "";
      const code = sign.codePointAt(0).toString(16).padStart(4, "0");
      const made = document.createElement("span");
      made.className = "hiddenchar";
      made.title = "an invisible character";
      made.textContent = "\\u" + code;
      parent.append(made);
    }
    if (plain) parent.append(plain);
  }

  function isolated(text, fold = true) {
    const made = document.createElement("bdi");
    if (!fold || text.length <= FOLD) {
      say(made, text);
      return made;
    }
    say(made, text.slice(0, FOLD - 300) + " … ");
    const button = make("button", { type: "button" }, `Show all ${commas(text.trim().split(/\s+/u).length)} words`);
    button.onclick = () => {
      made.textContent = "";
      say(made, text);
    };
    made.append(button);
    return made;
  }

  function photo(kind, number, has, alt) {
    return has ? make("img", { src: thumbnail(kind, number), alt: alt, loading: "lazy", decoding: "async" }) : make("span", { className: "nophoto" }, "no photo");
  }

  function few(parent, items, render) {
    const list = make("ul", parent.listClass ? { className: parent.listClass } : {});
    const add = (some) => some.map((item) => list.appendChild(make("li", {}, ...render(item))));
    add(items.slice(0, FIRST));
    parent.into.append(list);
    if (items.length <= FIRST) return;
    const button = make("button", { type: "button" }, `Show all ${commas(items.length)}`);
    button.onclick = () => {
      const first = add(items.slice(FIRST))[0];
      button.remove();
      first.tabIndex = -1;
      first.focus();
    };
    parent.into.append(button);
  }

  const scoresText = (scores) => scores.map(([name, value]) => `${words(name)} ${typeof value === "number" ? +value.toFixed(3) : value}`).join(", ");

  // Start

  function begin(value) {
    meta = value;
    meta.photos = bits(meta.photos);
    meta.matched = bits(meta.matched);
    if ($("filters")) start();
  }

  async function start() {
    fillFilters();
    read();
    window.addEventListener("hashchange", () => {
      if (location.hash !== written) { read(); apply(); }
    });
    wire();
    try {
      const count = Math.ceil(meta.pairs / meta.perIndex);
      const held = await Promise.all(Array.from({ length: count }, (_, at) => load("index", at, `data/index-${padded(at, 4)}.js`)));
      for (const one of held) {
        all.facets.push(one.facets.map(bits));
        for (const key of ["ids", "captions", "images"]) for (const item of one[key]) all[key].push(item);
        one.scores.forEach((values, at) => { all.scores[at] = (all.scores[at] || []).concat(values); });
      }
      all.ids.forEach((id, at) => all.at.set(id, at));
      all.lower = all.captions.map((caption) => caption.toLowerCase());
      apply();
      document.documentElement.dataset.ready = "yes";
    } catch (error) {
      $("status").textContent = error.message;
    }
  }

  function fillFilters() {
    meta.facets.forEach(([group, label, count]) => {
      $("f-" + group).append(make("option", { value: label }, `${words(label)} (${commas(count)})`));
    });
    for (const group of GROUPS) if ($("f-" + group).options.length < 2) $("f-" + group).closest("p").hidden = true;
    meta.scores.forEach(([name, low, high]) => $("score").append(make("option", { value: name }, `${words(name)} (${low} to ${high})`)));
    if (!meta.scores.length) for (const id of ["score", "from", "to", "sort"]) $(id).closest("p").hidden = true;
  }

  const field = (key) => (key === "q" ? $("search") : GROUPS.includes(key) ? $("f-" + key) : $(key));

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    state = { pair: given.get("pair") || "" };
    for (const key of KEYS) {
      state[key] = given.get(key) || "";
      if (field(key).value !== state[key]) field(key).value = state[key];
    }
  }

  let written = "", timer = 0;

  function hashOf(changes) {
    const made = new URLSearchParams();
    for (const [key, value] of Object.entries({ ...state, ...changes })) if (value) made.set(key, value);
    return "#" + made.toString();
  }

  function write() {
    written = hashOf({});
    if (location.hash !== written) location.replace(written === "#" ? "#" : written);
  }

  function wire() {
    const changed = () => {
      for (const key of KEYS) state[key] = field(key).value;
      apply(false);
      clearTimeout(timer);
      timer = setTimeout(write, 200);
    };
    $("filters").addEventListener("input", changed);
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("filters").addEventListener("reset", () => setTimeout(changed));
    $("more").onclick = () => {
      const before = shown;
      list(PAGE * 2);
      const next = $("list").children[before];
      if (next) next.firstChild.focus();
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
      if (step) { event.preventDefault(); go(step); }
      if (event.key === "/") { event.preventDefault(); $("search").focus(); }
    });
  }

  // Filters

  function filter() {
    const wanted = GROUPS.filter((group) => state[group]).map((group) => meta.facets.findIndex(([own, label]) => own === group && label === state[group]));
    const searched = state.q.toLowerCase().split(/\s+/u).filter(Boolean);
    const score = meta.scores.findIndex(([name]) => name === state.score);
    const from = state.from === "" ? -Infinity : Number(state.from), to = state.to === "" ? Infinity : Number(state.to);
    const kept = [];
    if (wanted.includes(-1)) return kept;
    next: for (let at = 0; at < all.ids.length; at++) {
      const block = Math.floor(at / meta.perIndex), own = at - block * meta.perIndex;
      for (const facet of wanted) if (!bit(all.facets[block][facet], own)) continue next;
      for (const word of searched) if (!all.lower[at].includes(word)) continue next;
      if (score >= 0) {
        const value = all.scores[score][at];
        if (value === null || value < from || value > to) continue;
      }
      kept.push(at);
    }
    if (state.sort && score >= 0) {
      const sign = state.sort === "up" ? 1 : -1;
      kept.sort((a, b) => sign * (all.scores[score][a] - all.scores[score][b]) || a - b);
    }
    return kept;
  }

  function apply(andPair = true) {
    const begun = performance.now();
    found = filter();
    shown = 0;
    $("list").textContent = "";
    list(PAGE);
    const what = found.length === all.ids.length ? `${commas(found.length)} pairs` : `${commas(found.length)} of ${commas(all.ids.length)} pairs`;
    $("status").textContent = all.ids.length ? what : "This report has no pairs.";
    document.documentElement.dataset.filtered = (performance.now() - begun).toFixed(1);
    if (!andPair) return position();
    if (!state.pair) {
      if (found.length) show(found[0], false);
      return;
    }
    const at = all.at.get(state.pair);
    if (at !== undefined) return show(at, true);
    current = -1;
    const pane = $("pair");
    pane.textContent = "";
    const reason = meta.pairs < meta.total ? `it shows ${meta.sample}` : "it may be of another corpus";
    pane.append(make("p", { role: "alert" }, "No pair in this report has the id ", isolated(state.pair), `; ${reason}.`));
  }

  function list(count) {
    const pairs = found.slice(shown, shown + count);
    for (const at of pairs) {
      const image = all.images[at];
      const link = make("a", { href: hashOf({ pair: all.ids[at] }) }, photo("photos", image, bit(meta.photos, image), ""), make("span", {}, isolated(shortened(all.captions[at]), false)));
      link.dataset.pair = at;
      if (at === current) link.setAttribute("aria-current", "true");
      $("list").append(make("li", {}, link));
    }
    shown += pairs.length;
    $("more").hidden = shown >= found.length;
  }

  const shortened = (text) => (text.length > 160 ? text.slice(0, 150) + " …" : text);

  function go(step) {
    const at = found.indexOf(current);
    const next = found[at < 0 ? 0 : at + step];
    if (next === undefined) return;
    current = next; // at once: a second key may be pressed before the page has followed the first
    location.hash = hashOf({ pair: all.ids[next] });
  }

  function position() {
    const at = found.indexOf(current), said = $("position");
    if (!said) return;
    said.textContent = at < 0 ? "not among the pairs found" : `${commas(at + 1)} of ${commas(found.length)} found`;
    $("previous").disabled = at <= 0;
    $("next").disabled = at >= found.length - 1 && at >= 0;
  }

  // One pair

  async function show(at, move) {
    current = at;
    for (const link of document.querySelectorAll("#list a")) {
      if (Number(link.dataset.pair) === at) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const pane = $("pair");
    try {
      const number = Math.floor(at / meta.perPiece), held = await piece(number);
      if (current !== at) return;
      const image = held.images.find(([own]) => own === all.images[at])[1];
      draw(pane, at, held.pairs[at - number * meta.perPiece], image);
      position();
      if (move) {
        pane.focus({ preventScroll: true });
        if (pane.getBoundingClientRect().top < 0 || innerWidth <= 800) pane.scrollIntoView();
      }
      document.documentElement.dataset.shown = all.ids[at];
    } catch (error) {
      pane.textContent = error.message;
    }
  }

  function draw(pane, at, pair, image) {
    const view = document.createDocumentFragment(), caption = all.captions[at];
    const [name, width, height, note] = image.about, regions = image.regions[0];
    view.append(make("h2", {}, "Pair ", make("code", {}, all.ids[at])), steps());
    const highlight = new Highlight(regions);
    view.append(captionLine(caption, pair.graph[0], highlight), picture(all.images[at], caption, note, [width, height], regions, highlight));
    const size = width ? `, ${commas(width)} × ${commas(height)} px` : "";
    view.append(make("p", { className: "dim" }, "Image ", make("code", {}, isolated(name)), size), command(all.ids[at]));
    siblings(view, at);
    graph(view, pair.graph[0]);
    sets(view, pair.sets, caption);
    matches(view, image.matches.concat(pair.matches));
    for (const [stage, table, values] of pair.facts) view.append(make("p", {}, make("b", {}, words(table)), ` (${words(stage)}): ${scoresText(values)}`));
    refused(view, pair.refused.concat(image.refused));
    pane.textContent = "";
    pane.append(view);
  }

  function steps() {
    const button = (id, text, step) => {
      const made = make("button", { type: "button", id: id }, text);
      made.onclick = () => go(step);
      return made;
    };
    return make("p", { className: "steps" }, button("previous", "← Previous", -1), button("next", "Next →", 1), make("span", { id: "position", className: "dim" }));
  }

  function command(id) {
    const text = `cmcl show ${/^[\w.-]+$/.test(meta.name) ? meta.name : "CORPUS"} ${id}`;
    const button = make("button", { type: "button" }, "Copy"), code = make("code", { id: "command" }, text);
    button.onclick = async () => {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      let done = false;
      try { await navigator.clipboard.writeText(text); done = true; } catch (error) { done = document.execCommand("copy"); }
      button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
    };
    return make("p", {}, code, " ", button);
  }

  // Words and boxes

  const stem = (word) => word.toLowerCase().replace(/(?<=[^s])s$/u, "").replace(/(?<=(ch|sh|x))e$/u, "");

  class Highlight {
    constructor(regions) {
      this.boxes = [];
      this.words = [];
      const kinds = new Set(regions ? regions.boxes.map((box) => box[5]) : []);
      this.labels = [...kinds].map((kind) => [kind, (meta.classes[kind] || "").split(",").map((one) => one.trim().toLowerCase())]);
    }
    kinds(names) {
      const stems = names.map(stem);
      return this.labels.filter(([, labels]) => labels.some((label) => label && (stems.includes(stem(label)) || stems.includes(stem(label.split(" ").pop()))))).map(([kind]) => kind);
    }
    set(kinds, on) {
      for (const [kind, box] of this.boxes) box.classList.toggle("on", on && kinds.includes(kind));
      for (const [own, word] of this.words) word.classList.toggle("on", on && own.some((kind) => kinds.includes(kind)));
      if (this.photo) this.photo.classList.toggle("quiet", on);
    }
    listen(element, kinds) {
      for (const [event, on] of [["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false]]) element.addEventListener(event, () => this.set(kinds, on));
    }
  }

  function captionLine(caption, graphOf, highlight) {
    const line = make("p", { className: "caption" });
    if (caption.length > FOLD) {
      line.append(isolated(caption));
      return line;
    }
    const signs = Array.from(caption), text = document.createElement("bdi");
    let spans = graphOf ? graphOf.objects.map(([start, end, said, head]) => [start, end, [said, head]]) : [];
    if (!graphOf) for (const word of caption.matchAll(/[\p{L}\p{N}]+/gu)) {
      const start = Array.from(caption.slice(0, word.index)).length;
      spans.push([start, start + Array.from(word[0]).length, [word[0]]]);
    }
    spans = spans.filter(([start, end]) => start >= 0 && end <= signs.length && start < end).sort((a, b) => a[0] - b[0]);
    let done = 0;
    for (const [start, end, names] of spans) {
      const kinds = highlight.kinds(names);
      if (!kinds.length || start < done) continue;
      say(text, signs.slice(done, start).join(""));
      const word = make("button", { type: "button", className: "word" }, signs.slice(start, end).join(""));
      highlight.words.push([kinds, word]);
      highlight.listen(word, kinds);
      text.append(word);
      done = end;
    }
    say(text, signs.slice(done).join(""));
    line.append(text);
    return line;
  }

  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const classOf = (kind) => meta.classes[kind] || (kind === null ? "region" : `class ${kind}`);
  const nameOf = (kind, attribute) => (meta.attributes[attribute] ? meta.attributes[attribute] + " " : "") + classOf(kind);

  function frame(number, caption, note, width, height) {
    const held = make("div", { className: "photo" });
    if (bit(meta.photos, number)) held.append(make("img", { src: thumbnail("photos", number), alt: "Photo: " + shortened(caption), width: width || 4, height: height || 3 }));
    else {
      const empty = make("div", { className: "nophoto" }, note || "no photo");
      if (width) empty.style.aspectRatio = `${width} / ${height}`;
      held.append(empty);
    }
    return held;
  }

  function picture(number, caption, note, size, regions, highlight) {
    const [width, height] = regions ? [regions.w, regions.h] : size;
    const held = frame(number, caption, note, width, height);
    highlight.photo = held;
    if (!regions) return make("div", {}, held, make("p", { className: "dim" }, "No regions are known of this image."));
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${regions.boxes.length} regions` });
    const big = Math.max(width, height) / 26;
    for (const [x, y, right, bottom, confidence, kind, attribute] of regions.boxes) {
      const label = nameOf(kind, attribute) + (confidence === null ? "" : ` ${confidence.toFixed(2)}`);
      const group = svg("g", { tabindex: 0, role: "img", "aria-label": label });
      const corners = { x: x, y: y, width: Math.max(0, right - x), height: Math.max(0, bottom - y) };
      const text = svg("text", { x: x + 2, y: Math.max(big, y - big / 4), "font-size": big });
      text.textContent = label;
      group.append(svg("rect", { ...corners, class: "under" }), svg("rect", corners), text);
      highlight.boxes.push([kind, group]);
      highlight.listen(group, [kind]);
      drawing.append(group);
    }
    held.append(drawing);
    const why = make("div");
    kept(why, "regions");
    const rows = regions.boxes.map(([x, y, right, bottom, confidence, kind, attribute]) => make("li", {}, `${nameOf(kind, attribute)}${confidence === null ? "" : ", confidence " + confidence.toFixed(2)}: from (${x}, ${y}) to (${right}, ${bottom})`));
    return make("div", {}, held, make("details", {}, make("summary", {}, `${rows.length} regions as a list`), why, make("ol", {}, ...rows)));
  }

  // What belongs to a pair

  function siblings(view, at) {
    const own = [];
    for (let other = at - 1; other >= 0 && all.images[other] === all.images[at]; other--) own.unshift(other);
    for (let other = at + 1; other < all.ids.length && all.images[other] === all.images[at]; other++) own.push(other);
    if (!own.length) return;
    view.append(make("h3", {}, "Other captions of the image"));
    few({ into: view }, own, (other) => [pairLink(other)]);
  }

  const pairLink = (at) => make("a", { href: hashOf({ pair: all.ids[at] }) }, isolated(shortened(all.captions[at]), false));

  function graph(view, held) {
    view.append(make("h3", {}, "Scene graph"));
    if (!held) return void view.append(make("p", { className: "dim" }, "The caption was not parsed."));
    if (!held.objects.length) return void view.append(make("p", { className: "dim" }, "The parser found no objects."));
    const named = (at) => (held.objects[at] ? held.objects[at][2] : "?");
    const items = held.objects.map(([, , text, , count], at) => {
      const own = held.attributes.filter(([object]) => object === at).map(([, said]) => said);
      return make("li", {}, make("b", {}, isolated(text)), own.length ? ": " + own.join(", ") : "", count ? ` (${count})` : "");
    });
    const relations = held.relations.map(([subject, text, object]) => make("li", {}, isolated(named(subject)), " → ", make("i", {}, isolated(text)), " → ", isolated(named(object))));
    view.append(make("ul", {}, ...items, ...relations));
  }

  function sets(view, held, caption) {
    for (const [polarity, title] of [["positive", "Positives"], ["negative", "Negatives"]]) {
      const own = held.filter((one) => one.polarity === polarity);
      view.append(make("h3", {}, title));
      if (!own.length) view.append(make("p", { className: "dim" }, `The pair has no ${polarity}s.`));
      for (const one of own) {
        view.append(make("h4", {}, `${words(one.kind)}, ${one.level} level: ${commas(one.rows.length)} (${one.stage})`));
        few({ into: view }, one.rows, (row) => rewrite(row, caption));
      }
    }
    for (const one of held.filter((one) => !["positive", "negative"].includes(one.polarity))) {
      view.append(make("h4", {}, `${words(one.kind)}, ${one.polarity}`));
      few({ into: view }, one.rows, (row) => rewrite(row, caption));
    }
  }

  function rewrite([text, edits, origin, why, scores], caption) {
    const near = typeof origin === "number";
    const said = near ? pairLink(origin) : edits ? edited(caption, edits, text) : isolated(text);
    const from = near || !origin ? "" : ` · from ${origin}`;
    const more = make("div", { className: "dim" }, `kept because: ${words(why) || "unknown"}${scores.length ? " · " + scoresText(scores) : ""}${from}`);
    if (!near) return [said, more];
    const image = all.images[origin];
    return [make("div", { className: "with" }, photo("photos", image, bit(meta.photos, image), "Photo of this caption"), make("div", {}, said, more))];
  }

  // The rewritten caption with what went and what came marked; just the text if the edits do not lead to it.
  function edited(caption, edits, text) {
    const signs = Array.from(caption), made = document.createElement("bdi");
    let done = 0, whole = "";
    for (const [start, end, put] of [...edits].sort((a, b) => a[0] - b[0])) {
      if (start < done || end > signs.length) return isolated(text);
      const kept = signs.slice(done, start).join("");
      say(made, kept);
      if (end > start) made.append(make("del", {}, signs.slice(start, end).join("")));
      if (put) made.append(" ", make("ins", {}, put));
      whole += kept + put;
      done = end;
    }
    const rest = signs.slice(done).join("");
    say(made, rest);
    return whole + rest === text && text.length <= FOLD ? made : isolated(text);
  }

  function kept(view, stage) {
    if (meta.rules[stage]) view.append(make("p", { className: "dim" }, `kept because: ${meta.rules[stage]}`));
  }

  function matches(view, held) {
    for (const one of held) {
      view.append(make("h3", {}, `${words(one.stage)}: ${commas(one.rows.length)} retrieved`));
      const images = one.rows.filter((row) => row[3] === "image"), texts = one.rows.filter((row) => row[3] !== "image");
      const below = (row) => make("div", { className: "dim" }, scoresText(row[4]));
      kept(view, one.stage);
      if (images.length) few({ into: view, listClass: "thumbs" }, images, (row) => [photo("matched", row[2], bit(meta.matched, row[2]), "Retrieved image " + row[0]), make("div", {}, make("code", {}, isolated(row[0]))), below(row)]);
      if (texts.length) few({ into: view }, texts, (row) => [isolated(row[1] || row[0]), below(row)]);
    }
  }

  function refused(view, held) {
    view.append(make("h3", {}, "Refused"));
    if (!held.length) view.append(make("p", { className: "dim" }, "No stage recorded a refusal for this pair."));
    for (const [stage, reasons] of held) {
      view.append(make("h4", {}, words(stage)));
      for (const [reason, count, details] of reasons) {
        const list = make("ul", {}, ...details.map(([text, other]) => (other >= 0 ? make("li", {}, pairLink(other), " ", isolated(text)) : make("li", {}, isolated(text)))));
        const rest = count > details.length ? make("p", { className: "dim" }, `and ${commas(count - details.length)} more`) : null;
        view.append(make("details", {}, make("summary", {}, `${words(reason)}: ${commas(count)}`), list, rest));
      }
    }
  }

  // Attention: which regions a word's weights go to, and what each head looks like

  async function attention(told) {
    const pairs = told.pairs, heads = told.heads, perLayer = Math.max(...heads.map((head) => head[1])), layers = Math.max(...heads.map((head) => head[0]));
    if (!pairs.length) return;
    let at = 0, head = "all", word = 0, held = null;
    const name = ([layer, number]) => `layer ${layer}, head ${number}`;

    function chosenHeads() {
      const [layer, number] = head.split(".").map(Number);
      return heads.filter((one) => head === "all" || (one[0] === layer && (!number || one[1] === number))).map(([own, second]) => (own - 1) * perLayer + second - 1);
    }

    function rowOf(query) {
      const chosen = chosenHeads(), row = new Float64Array(held.size);
      for (const one of chosen) for (let key = 0; key < held.size; key++) row[key] += held.bytes[(one * held.size + query) * held.size + key] / 255 * held.tops[one * held.size + query] / chosen.length;
      return row;
    }

    const labelOf = (region) => `${meta.classes[held.classes[region]] || "region"} (${region + 1})`;
    const sum = (values) => values.reduce((whole, one) => whole + one, 0);

    function drawWord() {
      const count = held.boxes.length, row = rowOf(held.size - 1 - held.tokens.length + word);
      const weights = Array.from(row.slice(1, 1 + count)), most = Math.max(...weights, 1e-9);
      const order = weights.map((_, region) => region).sort((a, b) => weights[b] - weights[a] || a - b);
      const said = isolated(held.tokens[word] || ""), photoOf = frame(pairs[at][2], pairs[at][1], "", held.w, held.h);
      const drawing = svg("svg", { viewBox: `0 0 ${held.w} ${held.h}`, role: "img", "aria-label": `Weights of the word on ${count} regions; the table below has the numbers`, class: "heat" });
      const big = Math.max(held.w, held.h) / 26;
      for (const region of [...order].reverse()) {
        const [x, y, right, bottom] = held.boxes[region];
        drawing.append(svg("rect", { x: x, y: y, width: Math.max(0, right - x), height: Math.max(0, bottom - y), "fill-opacity": (0.6 * weights[region] / most).toFixed(3), "stroke-opacity": (0.15 + 0.85 * weights[region] / most).toFixed(3) }));
      }
      for (const region of order.slice(0, 3)) {
        const text = svg("text", { x: held.boxes[region][0] + 2, y: Math.max(big, held.boxes[region][1] + big), "font-size": big });
        text.textContent = weights[region].toFixed(3);
        drawing.append(text);
      }
      photoOf.append(drawing);
      const whole = sum(weights), words = sum(Array.from(row.slice(2 + count, held.size - 1)));
      const shares = `: ${(100 * whole).toFixed(1)} % of its attention goes to regions, ${(100 * words).toFixed(1)} % to words, ${Math.max(0, 100 * (1 - whole - words)).toFixed(1)} % to [IMG], [CLS] and [SEP].`;
      const rows = order.slice(0, 10).map((region) => make("tr", {}, make("th", { scope: "row" }, isolated(labelOf(region))), make("td", { className: "n" }, weights[region].toFixed(4))));
      const table = make("table", {}, make("caption", {}, "The ten regions with the largest weights"), make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "region"), make("th", { scope: "col" }, "weight"))), make("tbody", {}, ...rows));
      $("drawn").replaceChildren(photoOf, make("div", {}, make("p", { id: "shares", role: "status" }, "“", said, "”" + shares), table));
      document.querySelectorAll("#tokens button").forEach((one, number) => one.setAttribute("aria-pressed", number === word));
    }

    function drawHeads() {
      document.querySelectorAll("#heads button").forEach((button) => {
        const [layer, number] = button.dataset.head.split(".").map(Number), start = ((layer - 1) * perLayer + number - 1) * held.size * held.size;
        const canvas = button.querySelector("canvas"), pixels = new ImageData(held.size, held.size);
        canvas.width = canvas.height = held.size;
        for (let cell = 0; cell < held.size * held.size; cell++) pixels.data.set([47, 126, 216, held.bytes[start + cell]], 4 * cell);
        canvas.getContext("2d").putImageData(pixels, 0, 0);
        button.setAttribute("aria-pressed", button.dataset.head === head);
      });
    }

    function write() {
      const made = new URLSearchParams({ pair: pairs[at][0], head: head, word: word });
      written = "#" + made.toString();
      if (location.hash !== written) location.replace(written);
    }

    function chooseHead(one) {
      head = $("head").value = one;
      drawWord();
      drawHeads();
      write();
    }

    function chooseWord(number, keep) {
      word = number;
      drawWord();
      if (keep) write();
    }

    const longest = (tokens) => tokens.reduce((best, token, place) => (token.length > tokens[best].length ? place : best), 0);

    async function choosePair(number, first) {
      at = number;
      $("choice").value = String(at);
      try {
        const own = await load("map", at, `data/attention/${padded(at, 4)}.js`);
        if (at !== number) return;
        held = { ...own, bytes: bits(own.weights), tops: new Float32Array(bits(own.tops).buffer) };
        held.size = held.boxes.length + held.tokens.length + 3;
        word = held.tokens[first] === undefined ? longest(held.tokens) : first;
        $("tokens").replaceChildren(...held.tokens.map((token, place) => {
          const button = make("button", { type: "button" }, isolated(token, false));
          for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => chooseWord(place, false));
          button.onclick = () => chooseWord(place, true);
          return button;
        }));
        drawWord();
        drawHeads();
        write();
        $("previous").disabled = at === 0;
        $("next").disabled = at === pairs.length - 1;
        $("to-pair").href = "gallery.html#" + new URLSearchParams({ pair: pairs[at][0] });
        document.documentElement.dataset.shown = pairs[at][0];
      } catch (error) {
        $("drawn").textContent = error.message;
      }
    }

    function follow() {
      const given = new URLSearchParams(location.hash.slice(1)), wanted = given.get("pair");
      const number = wanted === null ? 0 : pairs.findIndex(([id]) => id === wanted);
      $("unknown").replaceChildren(...(number < 0 ? ["No map was made of the pair ", isolated(wanted), "; the first of those below is shown."] : []));
      const asked = given.get("head") || "all";
      head = $("head").value = Array.from($("head").options).some((one) => one.value === asked) ? asked : "all";
      return choosePair(Math.max(0, number), parseInt(given.get("word"), 10));
    }

    pairs.forEach(([, caption], number) => $("choice").append(make("option", { value: String(number) }, shortened(caption))));
    const option = (value, text) => make("option", { value: value }, text);
    $("head").append(option("all", "mean of all heads"), ...Array.from({ length: layers }, (_, layer) => option(String(layer + 1), `mean of layer ${layer + 1}`)));
    for (const pattern of told.patterns) {
      const own = heads.filter((one) => one[2] === pattern), group = make("optgroup", { label: pattern });
      group.append(...own.map((one) => option(`${one[0]}.${one[1]}`, name(one))));
      if (own.length) $("head").append(group);
    }
    const step = (by) => { if (pairs[at + by]) choosePair(at + by); };
    $("choice").onchange = () => choosePair(Number($("choice").value));
    $("head").onchange = () => chooseHead($("head").value);
    $("previous").onclick = () => step(-1);
    $("next").onclick = () => step(1);
    document.querySelectorAll("#heads button").forEach((button) => { button.onclick = () => { chooseHead(button.dataset.head); $("drawn").scrollIntoView({ block: "nearest" }); }; });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      if (event.key === "j") step(1);
      if (event.key === "k") step(-1);
    });
    window.addEventListener("hashchange", () => { if (location.hash !== written) follow(); });
    await follow();
    document.documentElement.dataset.ready = "yes";
  }
})();
