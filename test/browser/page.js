// What the tests know of a page: how a person finds a thing in it. Evaluated as one expression
// that returns an object of functions.
(() => {
  const squash = (s) => (s || "").replace(/\s+/g, " ").trim();
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
  // The uppermost thing that takes input: an open dialog, or the page.
  const ground = () => [...document.querySelectorAll("dialog[open]")].pop() || document.body;
  // What a screen reader would call it, roughly.
  const words = (node) =>
    node.nodeType === 3 ? node.data
    : node.nodeType !== 1 || node.getAttribute("aria-hidden") === "true" || !node.checkVisibility() ? ""
    : node.getAttribute("aria-label") || [...node.childNodes].map(words).join(getComputedStyle(node).display === "inline" ? "" : " ") + (getComputedStyle(node).display === "inline" ? "" : " ");
  const nameOf = (e) => squash(words(e) || e.value || e.title);
  const boxes = "dialog, [role=dialog], fieldset, form, li, tr, section, details, figure, .banner, .field, aside, nav, header, main";
  // How far above e the nearest box is that says what within says; -1 if none does.
  const distance = (e, within) => {
    let steps = 0;
    for (let box = e.closest(boxes); box; box = box.parentElement && box.parentElement.closest(boxes), steps++) {
      if (squash((box.getAttribute("aria-label") || "") + " " + box.innerText).includes(within)) return steps;
    }
    return -1;
  };
  const narrow = (list, within) => {
    if (!within) {
      const inMain = list.filter((e) => e.closest("main, dialog"));
      return inMain.length ? inMain : list;
    }
    const found = list.map((e) => [distance(e, within), e]).filter(([d]) => d >= 0);
    const least = Math.min(...found.map(([d]) => d));
    return found.filter(([d]) => d === least).map(([, e]) => e);
  };
  const one = (list, what) => {
    if (list.length === 0) throw new Error("there is no " + what);
    if (list.length > 1 && new Set(list.map((e) => e.href || e)).size > 1) throw new Error("there are " + list.length + " of " + what);
    return list[0];
  };
  const control = (name, within) => {
    const all = [...ground().querySelectorAll("a[href], button, summary, input[type=submit], [role=button]")].filter(seen);
    let list = all.filter((e) => nameOf(e) === name);
    if (!list.length) list = all.filter((e) => e.tagName === "A" && nameOf(e).startsWith(name)); // a tile's text goes on
    if (!list.length) list = all.filter((e) => e.tagName !== "A" && nameOf(e).startsWith(name));
    if (!list.length) list = all.filter((e) => e.tagName === "SUMMARY" && nameOf(e).includes(name)); // a row of a log
    return one(narrow(list, within), "“" + name + "” to press" + (within ? " at “" + within + "”" : ""));
  };
  const labelOf = (l) => {
    const copy = l.cloneNode(true);
    copy.querySelectorAll(".optional, .help, input, textarea, select").forEach((e) => e.remove());
    const strong = copy.querySelector(".radio-label");
    return squash((strong || copy).textContent);
  };
  const field = (label, within) => {
    const list = [...ground().querySelectorAll("label")].filter((l) => labelOf(l) === label && l.control).map((l) => l.control);
    for (const e of ground().querySelectorAll("input[aria-label], textarea[aria-label], select[aria-label]")) {
      if (squash(e.getAttribute("aria-label")) === label) list.push(e);
    }
    return one(narrow(list.filter(seen), within), "field “" + label + "”");
  };
  const place = (e) => {
    e.scrollIntoView({ block: "center", inline: "nearest", behavior: "instant" });
    const r = e.getClientRects()[0];
    const x = r.left + r.width / 2, y = r.top + r.height / 2;
    const hit = document.elementFromPoint(x, y);
    if (!hit) throw new Error("it is outside of the window");
    if (!(e.contains(hit) || hit.contains(e) || (hit.labels && [...hit.labels].includes(e)))) {
      throw new Error("it is covered by " + hit.outerHTML.slice(0, 120));
    }
    if (e.disabled) throw new Error("it is disabled");
    return { x, y };
  };
  return {
    control: (name, within) => place(control(name, within)),
    choice: (label, within) => {
      const e = field(label, within);
      return place(e.type === "radio" || e.type === "checkbox" ? (e.closest("label") || e) : e);
    },
    focus: (label, within) => {
      const e = field(label, within);
      if (e.readOnly || e.disabled) throw new Error("“" + label + "” can't be changed");
      e.focus();
      if (e.select) e.select();
      return e.tagName === "SELECT" ? "select" : e.type;
    },
    put: (label, within, value) => { // what has no text to type into
      const e = field(label, within);
      if (e.tagName === "SELECT") {
        const o = [...e.options].find((o) => squash(o.text) === value || o.value === value);
        if (!o) throw new Error("“" + label + "” has no “" + value + "”");
        value = o.value;
      }
      e.value = value;
      e.dispatchEvent(new Event("input", { bubbles: true }));
      e.dispatchEvent(new Event("change", { bubbles: true }));
      return e.value;
    },
    value: (label, within) => { const e = field(label, within); return e.type === "checkbox" ? String(e.checked) : e.value; },
    mark: (label, within) => { field(label, within).setAttribute("data-test-file", ""); return true; },
    text: () => squash(document.body.innerText),
    code: (label) => {
      const pre = [...document.querySelectorAll("pre[aria-label]")].find((p) => p.getAttribute("aria-label") === label);
      if (!pre) throw new Error("there is no block “" + label + "”");
      return pre.textContent;
    },
    fact: (term) => {
      const dt = [...document.querySelectorAll("dt")].find((d) => squash(d.textContent) === term);
      if (!dt) throw new Error("there is no fact “" + term + "”");
      return squash(dt.nextElementSibling.innerText);
    },
    copyable: () => document.querySelector(".copy-field input").value,
    href: (name, within) => control(name, within).href,
    theme: () => {
      const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
      return [document.documentElement.dataset.theme || "", r + g + b > 382 ? "light" : "dark"];
    },
    insideDialog: () => !!document.activeElement.closest("dialog[open]") || document.activeElement === document.body,
    active: () => {
      const e = document.activeElement;
      if (!e || e === document.body) return { name: "", tag: "" };
      const label = e.labels && e.labels[0] ? labelOf(e.labels[0]) : nameOf(e);
      const r = e.getBoundingClientRect(), style = getComputedStyle(e), parent = getComputedStyle(e.parentElement);
      const ring = (s) => (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== "none";
      return { name: label, tag: e.tagName.toLowerCase(), shown: seen(e) && r.width > 1, ring: ring(style) || ring(parent) };
    },
  };
})()
