// What the pages do beyond links and forms: dialogs, the keys of the tree, keeping place and focus while parts are
// exchanged, telling what went wrong. Everything here has a way without it.
(() => {
  "use strict";

  const dialog = document.getElementById("dialog");
  const messages = document.getElementById("messages");

  function say(text, kind) {
    const line = document.createElement("p");
    line.className = `message message-${kind}`;
    line.textContent = text;
    messages.append(line);
    window.setTimeout(() => line.remove(), kind === "error" ? 15000 : 6000);
  }

  // --- dialogs -----------------------------------------------------------------------------------------------------

  let opener = null;

  function showDialog() {
    if (!dialog.open) {
      opener = document.activeElement;
      dialog.showModal();
    }
    const refusal = dialog.querySelector("[role=alert]");
    // What is wrong, what is to be filled in, or else the way out: never what cannot be undone.
    // What is wrong is known by the sentence below it: htmx gives an element the class of its predecessor for a moment.
    const wrong = ".field:has(.field-error) :is(input, select, textarea):not(:disabled)";
    const wanted = [wrong, "[autofocus]", "input:not([type=hidden]):not(:disabled)", "[data-closes-dialog]", "button"];
    const first = wanted.map((selector) => dialog.querySelector(selector)).find(Boolean);
    if (refusal) {
      refusal.tabIndex = -1;
      refusal.focus();
    } else if (first) {
      first.focus();
      if (first.matches("input[name=name]")) first.select();
    }
  }

  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    // The part of the page that the dialog was opened from may have been exchanged meanwhile.
    const back = opener && (opener.isConnected ? opener : document.getElementById(opener.id));
    (back || document.getElementById("machine-title") || document.getElementById("content")).focus();
    opener = null;
  });

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-closes-dialog], [aria-disabled=true], [data-copies]");
    if (!target) {
      if (event.target === dialog) dialog.close(); // outside of what is in it
      return;
    }
    if (target.matches("[data-closes-dialog]")) dialog.close();
    if (target.matches("[aria-disabled=true]")) event.preventDefault();
    if (target.matches("[data-copies]")) {
      const text = document.getElementById(target.dataset.copies).textContent;
      navigator.clipboard.writeText(text).then(() => say("Copied.", "success"));
    }
  });

  // Anchors that act as buttons answer to the space bar too.
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.matches("a[role=button]")) {
      event.preventDefault();
      event.target.click();
    }
  });

  // --- the tree ----------------------------------------------------------------------------------------------------

  const items = (tree) => [...tree.querySelectorAll("[role=treeitem]")];

  // One stop for the tab key; the arrows move within.
  function makeReachable(tree, wanted) {
    const all = items(tree);
    const stop = wanted || all.find((item) => item.getAttribute("aria-selected") === "true") || all[0];
    for (const item of all) item.tabIndex = item === stop ? 0 : -1;
    return stop;
  }

  function keepInView(tree, item) {
    if (!item) return;
    const top = item.offsetTop - tree.offsetTop;
    if (top < tree.scrollTop || top + item.offsetHeight > tree.scrollTop + tree.clientHeight) {
      tree.scrollTop = top - tree.clientHeight / 2;
    }
  }

  function setUpTree(scrollTop) {
    const tree = document.getElementById("tree");
    if (!tree) return;
    const stop = makeReachable(tree);
    if (scrollTop === undefined) keepInView(tree, stop);
    else tree.scrollTop = scrollTop;
  }

  function parentOf(all, index) {
    const level = Number(all[index].getAttribute("aria-level"));
    // Rows stand below their parents, with whole branches between: the parent is the nearest row above, one level up.
    for (let above = index - 1; above >= 0; above -= 1) {
      if (Number(all[above].getAttribute("aria-level")) === level - 1) return all[above];
    }
    return null;
  }

  document.addEventListener("keydown", (event) => {
    const item = event.target.closest("#tree [role=treeitem]");
    if (!item || event.altKey || event.ctrlKey || event.metaKey) return;
    const tree = item.closest("#tree");
    const all = items(tree);
    const index = all.indexOf(item);
    const level = Number(item.getAttribute("aria-level"));
    const goals = {
      ArrowDown: () => all[index + 1],
      ArrowUp: () => all[index - 1],
      ArrowLeft: () => parentOf(all, index),
      ArrowRight: () => (all[index + 1] && Number(all[index + 1].getAttribute("aria-level")) > level ? all[index + 1] : null),
      Home: () => all[0],
      End: () => all[all.length - 1],
    };
    if (event.key === " ") {
      event.preventDefault();
      item.click();
    } else if (event.key in goals) {
      event.preventDefault();
      const goal = goals[event.key]();
      if (goal) {
        makeReachable(tree, goal);
        goal.focus();
      }
    }
  });

  function markSelected(href) {
    const tree = document.getElementById("tree");
    if (!tree) return;
    for (const item of items(tree)) {
      const selected = item.getAttribute("href") === href;
      if (item.hasAttribute("aria-selected")) item.setAttribute("aria-selected", String(selected));
      if (selected) makeReachable(tree, item);
    }
  }

  // --- parts of the page that are exchanged --------------------------------------------------------------------------

  let place = null;
  let renewLater = false;
  const answerAwaited = () => document.querySelector("#machine .htmx-request:not(#pulse)") !== null;

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "machine") return;
    // Renewed now, the page would lose what was just clicked, whose answer would find no place: that comes first.
    if (answerAwaited()) {
      event.preventDefault();
      renewLater = true;
      return;
    }
    const tree = document.getElementById("tree");
    const focused = document.activeElement;
    place = {
      scrollTop: tree ? tree.scrollTop : 0,
      row: focused && focused.closest("#tree") ? focused.getAttribute("href") : null,
      inside: Boolean(focused && focused.closest("#machine")),
    };
  });

  document.addEventListener("htmx:afterRequest", () => {
    if (!renewLater || answerAwaited()) return;
    renewLater = false;
    htmx.trigger(document.getElementById("pulse"), "vmsnap:look");
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const target = event.detail.target;
    if (target.id === "dialog") showDialog();
    if (target.id === "details") {
      const address = event.detail.pathInfo.requestPath;
      markSelected(address.slice(address.indexOf("?")));
      const details = document.getElementById("details");
      // On a narrow screen the details stand below the tree.
      if (details.getBoundingClientRect().top > window.innerHeight - 120) details.scrollIntoView({ block: "nearest" });
    }
    if (target.id === "machine" && place) {
      setUpTree(place.scrollTop);
      if (place.row) document.querySelector(`#tree [href="${CSS.escape(place.row)}"]`)?.focus();
      if (place.inside && document.activeElement === document.body) {
        document.getElementById("machine-title")?.focus({ preventScroll: true });
      }
      place = null;
    }
  });

  document.addEventListener("vmsnap:accepted", (event) => {
    if (dialog.open) dialog.close();
    say(event.detail.said, "success");
    const looking = document.getElementById("pulse") || document.getElementById("job");
    if (looking) htmx.trigger(looking, "vmsnap:look");
    else window.location.assign(event.detail.back);
  });

  document.addEventListener("htmx:responseError", (event) => {
    say(`The server could not answer (${event.detail.xhr.status}). Nothing was changed here; try again.`, "error");
  });

  // Pages ask again and again by themselves; one line about a lost server is enough.
  let lost = false;
  document.addEventListener("htmx:sendError", () => {
    if (!lost) say("The server cannot be reached. This page tries again by itself.", "error");
    lost = true;
  });
  document.addEventListener("htmx:afterOnLoad", () => {
    lost = false;
  });

  // --- choosing many ------------------------------------------------------------------------------------------------

  const boxesOf = (form, name) => [...form.querySelectorAll(`input[type=checkbox][name="${CSS.escape(name)}"]`)];

  // The box in the head stands for all boxes below it, and a line says how many are chosen.
  function countChosen(form) {
    const all = form.querySelector("[data-selects]");
    const line = form.querySelector("[data-counts]");
    if (!all || !line) return;
    const boxes = boxesOf(form, all.dataset.selects);
    const count = boxes.filter((box) => box.checked).length;
    all.hidden = false;
    all.checked = count > 0 && count === boxes.length;
    all.indeterminate = count > 0 && count < boxes.length;
    const { none, one, many } = line.dataset;
    const words = count === 0 ? none : count === 1 ? one : many.replace("%n", count);
    if (line.textContent !== words) line.textContent = words;
  }

  function setUpChoices() {
    for (const all of document.querySelectorAll("[data-selects]")) countChosen(all.form);
  }

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.type !== "checkbox" || !box.form || !box.form.querySelector("[data-selects]")) return;
    if (box.matches("[data-selects]")) {
      for (const other of boxesOf(box.form, box.dataset.selects)) other.checked = box.checked;
    }
    countChosen(box.form);
  });

  document.addEventListener("htmx:afterSwap", setUpChoices);
  // A browser that goes back ticks the boxes again as they were.
  window.addEventListener("pageshow", setUpChoices);

  // --- names that are suggested ---------------------------------------------------------------------------------------

  // A choice may suggest a name, which stands in its form as long as nobody has typed another.
  document.addEventListener("change", (event) => {
    const { form, dataset } = event.target;
    if (!dataset.suggests || !form) return;
    const suggested = [...form.querySelectorAll("[data-suggests]")].map((choice) => choice.dataset.suggests);
    if (suggested.includes(form.elements.name.value)) form.elements.name.value = dataset.suggests;
  });

  // --- at the start -------------------------------------------------------------------------------------------------

  for (const button of document.querySelectorAll("[data-copies]")) button.hidden = !navigator.clipboard;
  for (const line of messages.children) window.setTimeout(() => line.remove(), 8000);
  setUpTree();
})();
