// What the pages do beyond HTML. Everything works without it, except what is marked
// "needs-script", which the style sheet hides where scripts don't run.
"use strict";
(() => {
  const root = document.documentElement;
  const on = (type, selector, run, capture) =>
    document.addEventListener(
      type,
      (event) => {
        const hit = event.target instanceof Element && event.target.closest(selector);
        if (hit) run(hit, event);
      },
      capture,
    );
  const each = (selector, run, within = document) => within.querySelectorAll(selector).forEach(run);
  const sprite = () => document.querySelector("svg.icon use")?.getAttribute("href").split("#")[0];
  const setIcon = (button, name) => button.querySelector("use")?.setAttribute("href", sprite() + "#" + name);

  // Theme: the server reads the cookie, so that the next page starts in the right colours.
  on("click", "[data-theme-set]", (button) => {
    const theme = button.dataset.themeSet;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `theme=${theme}; Path=/; SameSite=Lax; Max-Age=${theme ? 31536000 : 0}${secure}`;
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    each("[data-theme-set]", (b) => b.setAttribute("aria-pressed", String(b.dataset.themeSet === theme)));
  });

  // Messages for screen readers and for htmx answers.
  const say = (text) => {
    const box = document.getElementById("toasts");
    if (!box) return;
    const note = document.createElement("span");
    note.className = "sr";
    note.textContent = text;
    box.append(note);
    setTimeout(() => note.remove(), 4000);
  };
  const problem = (text) => {
    const box = document.getElementById("toasts");
    if (!box) return;
    const toast = document.createElement("div");
    toast.className = "toast danger";
    const p = document.createElement("p");
    p.textContent = text;
    toast.append(p);
    box.append(toast);
    setTimeout(() => toast.remove(), 8000);
  };

  // Copy.
  const copyText = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea"); // plain http on a private network
    area.value = text;
    area.className = "sr";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copy refused");
  };
  on("click", "[data-copy]", async (button) => {
    const label = button.querySelector("[data-copy-label]");
    try {
      await copyText(button.dataset.copy);
    } catch {
      problem("The browser refused to copy. Select the text and copy it yourself.");
      return;
    }
    button.focus();
    setIcon(button, "check");
    button.classList.add("copied");
    if (label) label.textContent = "Copied";
    say("Copied");
    setTimeout(() => {
      setIcon(button, "copy");
      button.classList.remove("copied");
      if (label) label.textContent = "Copy";
    }, 1600);
  });
  on("click", "[data-print]", () => window.print());
  on("focusin", "[data-select-all-text]", (input) => input.select());

  // Show what was typed.
  on("click", "[data-reveal]", (button) => {
    const input = document.getElementById(button.dataset.reveal);
    const show = input.type === "password";
    input.type = show ? "text" : "password";
    button.setAttribute("aria-pressed", String(show));
    setIcon(button, show ? "eye-off" : "eye");
  });

  // Dialogs: a link that opens one leads to the same form as a page.
  on("click", "[data-dialog]", (opener, event) => {
    const dialog = document.getElementById(opener.dataset.dialog);
    if (!dialog || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    opener.closest("details[data-menu]")?.removeAttribute("open");
    dialog.showModal();
  });
  on("click", "dialog [data-close]", (button, event) => {
    event.preventDefault();
    button.closest("dialog").close();
  });
  on("click", "dialog", (dialog, event) => {
    if (event.target !== dialog) return;
    const box = dialog.getBoundingClientRect();
    const inside =
      event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) dialog.close();
  });

  // A destructive button waits for the typed word. The server compares it too.
  const checkConfirm = (input) => {
    const button = input.form.querySelector("button[type=submit]");
    button.disabled = input.value.trim() !== input.dataset.confirm;
  };
  on("input", "[data-confirm]", checkConfirm);

  // Forms: warn before leaving with unsaved changes, send once, submit on change.
  let dirty = new Set();
  on("input", "form[data-dirty]", (form) => dirty.add(form));
  window.addEventListener("beforeunload", (event) => {
    for (const form of dirty) if (form.isConnected) event.preventDefault();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    dirty.delete(form);
    if (event.defaultPrevented || form.target === "_blank" || form.method === "dialog") return;
    if (form.hasAttribute("hx-get") || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    event.submitter?.setAttribute("aria-busy", "true");
    setTimeout(() => delete form.dataset.sent, 10000); // a download answers without leaving
  });
  window.addEventListener("pageshow", () => {
    each("form[data-sent]", (form) => delete form.dataset.sent);
    each("[aria-busy=true]", (b) => b.removeAttribute("aria-busy"));
  });
  on("change", "form[data-submit-on-change] select", (select) => select.form.requestSubmit());
  // htmx can't tell a list's change from that of the search box, which comes late, on blur.
  on("change", "form.filters[hx-get] select", (select) => select.form.dispatchEvent(new Event("filter")));

  // Fields that only matter while another has a value: data-when="name=value".
  const applyWhen = (part) => {
    const form = part.closest("form");
    const at = part.dataset.when.indexOf("=");
    const name = part.dataset.when.slice(0, at);
    const want = part.dataset.when.slice(at + 1).split("|");
    const value = form ? new FormData(form).get(name) ?? "" : "";
    part.hidden = !want.includes(String(value));
    part.removeAttribute("data-off");
    each("input, select, textarea", (i) => {
      if (part.hidden && i.required) {
        i.required = false;
        i.dataset.wasRequired = "1";
      } else if (!part.hidden && i.dataset.wasRequired) {
        i.required = true;
        delete i.dataset.wasRequired;
      }
    }, part);
  };
  on("change", "form", (form) => each("[data-when]", applyWhen, form));

  // Tables: choose rows.
  const countPicked = (wrap) => {
    const boxes = [...wrap.querySelectorAll("tbody .pick input")];
    const picked = boxes.filter((b) => b.checked).length;
    const all = wrap.querySelector("[data-pick-all]");
    if (all) {
      all.checked = picked > 0 && picked === boxes.length;
      all.indeterminate = picked > 0 && picked < boxes.length;
    }
    const note = wrap.querySelector("[data-selected-count]");
    if (note) note.textContent = picked ? `${picked} chosen` : "";
  };
  on("change", ".table-wrap .pick input", (box) => {
    const wrap = box.closest(".table-wrap");
    if (box.hasAttribute("data-pick-all")) each("tbody .pick input", (b) => (b.checked = box.checked), wrap);
    countPicked(wrap);
  });

  // Pickers: what is ticked moves up and stays while one searches on.
  on("change", "[data-picker-found] input", (box) => {
    const chosen = box.closest("[data-picker]").querySelector("[data-picker-chosen]");
    const known = [...chosen.querySelectorAll("input")].find((i) => i.value === box.value);
    if (known) {
      known.checked = true;
      box.closest("label").remove();
    } else {
      chosen.append(box.closest("label"));
      box.focus();
    }
  });

  on("keydown", "[data-picker] input[type=search]", (_, event) => {
    if (event.key === "Enter") event.preventDefault(); // it would send the whole form
  });

  // Tiles: filter while one types.
  on("input", "[data-filter]", (input) => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    each(input.dataset.filter + " > [data-text]", (item) => {
      const text = item.dataset.text.toLowerCase();
      item.hidden = !words.every((w) => text.includes(w));
      if (!item.hidden) shown++;
    });
    each(`[data-filter-none="${input.dataset.filter}"]`, (p) => (p.hidden = shown > 0));
  });
  on("keydown", "[data-filter]", (input, event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const shown = document.querySelectorAll(input.dataset.filter + " > [data-text]:not([hidden]) a");
    if (input.value && shown.length > 0) shown[0].click();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
    const box = [...document.querySelectorAll("[data-hotkey='/']")].reverse().find((i) => i.offsetParent);
    if (!box) return;
    event.preventDefault();
    box.focus();
    box.select();
  });

  // Menus close on a click elsewhere and on Escape.
  document.addEventListener("click", (event) => {
    each("details[data-menu][open]", (menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
  on("keydown", "details[data-menu][open]", (menu, event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // Messages that can be put away.
  on("click", "[data-dismiss]", (button) => button.closest("[data-dismissable]").remove());

  // Times such as "3 minutes ago" stay true. The words are those of the server's Ago.
  const units = [
    [60, "minute", 59.5 * 60],
    [3600, "hour", 23.5 * 3600],
    [86400, "day", 45 * 86400],
    [30 * 86400, "month", 365 * 86400],
  ];
  const ago = (then, now) => {
    const delta = (now - then) / 1000;
    const d = Math.abs(delta);
    if (d < 45) return delta < 0 ? "in a moment" : "just now";
    for (const [size, unit, below] of units) {
      if (d >= below) continue;
      const n = Math.max(1, Math.floor(d / size + 0.5));
      const text = `${n} ${unit}${n === 1 ? "" : "s"}`;
      return delta < 0 ? `in ${text}` : `${text} ago`;
    }
    return null;
  };
  const refreshTimes = () =>
    each("time[data-relative]", (time) => {
      const text = ago(Date.parse(time.dateTime), Date.now());
      if (text && text !== time.textContent) time.textContent = text;
    });
  setInterval(() => document.hidden || refreshTimes(), 30000);

  // Run on the page and on every piece that htmx puts into it.
  const prepare = (within) => {
    each("[data-confirm]", checkConfirm, within);
    each("[data-when]", applyWhen, within);
    each(".table-wrap", countPicked, within);
    each("[data-toast]:not([data-toast=danger])", (t) => setTimeout(() => t.remove(), 6000), within);
  };
  prepare(document);
  document.querySelector("[data-summary]")?.focus();
  // What an address names is opened.
  const openNamed = () => {
    const named = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (named && named.matches("details")) named.open = true;
  };
  if (!document.querySelector("[data-summary]")) openNamed();
  window.addEventListener("hashchange", openNamed);

  // A live part rests while nobody looks.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.matches("[data-live]")) event.preventDefault();
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));
  // An error answer is shown when it is a message of ours, which names its target itself.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const xhr = event.detail.xhr;
    if (xhr.status >= 400 && xhr.getResponseHeader("HX-Retarget")) event.detail.shouldSwap = true;
    else if (xhr.status >= 500) problem("The server couldn't answer. Try again in a moment.");
  });
  document.addEventListener("htmx:sendError", () => problem("The server can't be reached. Check the connection and try again."));
  document.addEventListener("htmx:timeout", () => problem("The server took too long to answer. Try again in a moment."));
})();
