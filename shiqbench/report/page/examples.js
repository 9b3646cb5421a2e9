// The dialog with the examples behind a number. A link "#b0-r2" opens row 2 of table 0, "#b0-r2-r1" two rows, and
// "#b0-r2-r1-xNAME" the example NAME of them. "r2.1" is the second seed of row 2. The address follows what is shown, so
// that it can be sent.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const dialog = at("examples");
const PAGE = 50; // examples of the list that are shown at once
const SAME = 1e-12; // scores that differ by less are equal
const unpacked = new Map();
let chosen = null; // the examples that are shown: {block, sides, list, start}
let opener = null; // the link that opened the dialog; it gets the focus back
let asked = 0; // the newest request; an older one that ends later shows nothing

// Records of an evaluation: a list of objects. They are unpacked when they are first needed.
function recordsOf(number) {
  if (!unpacked.has(number)) unpacked.set(number, unpack(number));
  return unpacked.get(number);
}

async function unpack(number) {
  const fact = data.records[number];
  if (fact.why) throw new Error(fact.why);
  const bytes = Uint8Array.from(atob(at(`records-${number}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const columns = await new Response(stream).json();
  const names = Object.keys(columns);
  return Array.from({ length: fact.count }, (_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

// The score of a record as the number's own definition says; null if the record has none.
function scoreOf(record, how, metric) {
  if (how === null) return typeof record[metric] === "number" ? record[metric] : null;
  if (Object.entries(how.without).some(([name, value]) => record[name] === value)) return null;
  let value = record[how.value];
  if (how.key !== null) value = parsed(value)?.[how.key];
  if (Array.isArray(value)) return value.length ? value.reduce((a, b) => a + Number(b), 0) / value.length : null;
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return null;
  return how.of === null ? Number(value) : record[how.of] ? Number(value) / record[how.of] : null;
}

// The examples of one evaluation by name; repeats of a name are numbered.
function byName(records, block) {
  const seen = new Map();
  const found = new Map();
  const only = Object.entries(block.scores?.only ?? {});
  records.forEach((record, i) => {
    if (only.some(([name, value]) => record[name] !== value)) return;
    const title = shown(record[block.view.title] ?? i);
    const again = seen.get(title) ?? 0;
    seen.set(title, again + 1);
    const name = again ? `${title} (${again + 1})` : title;
    found.set(name, { record, score: scoreOf(record, block.scores, block.metric) });
  });
  return found;
}

const called = (row, e) => row.name + (row.evaluations[e].seed === null ? "" : `, seed ${row.evaluations[e].seed}`);

function options(select, block, empty) {
  const made = block.rows.flatMap((row, r) => row.evaluations.map((_, e) => new Option(called(row, e), `${r}.${e}`)));
  select.replaceChildren(...(empty ? [new Option("nothing", "")] : []), ...made);
}

const partsOf = (link) => /^#b(\d+)-r(\d+)(?:\.(\d+))?(?:-r(\d+)(?:\.(\d+))?)?(?:-x(.+))?$/.exec(link);

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // written by hand
  }
}

// The address of the example that is shown.
function address(name) {
  const { block, number } = chosen;
  const sides = [at("left").value, at("right").value].filter(Boolean).map((text) => {
    const [r, e] = text.split(".");
    return block.rows[r].evaluations.length > 1 ? `-r${r}.${e}` : `-r${r}`;
  });
  return `#b${number}${sides.join("")}-x${encodeURIComponent(name)}`;
}

function open(link) {
  const [, number, r, e = 0, versus, other, name] = partsOf(link);
  const block = data.blocks[number];
  const has = (row, evaluation = 0) => block?.rows[row]?.evaluations[evaluation] !== undefined;
  if (!has(r, e) || (versus !== undefined && !has(versus, other))) return;
  chosen = { block, number, start: 0, list: [], sides: [], wanted: name && decoded(name) };
  at("about").textContent = block.title;
  options(at("left"), block, false);
  options(at("right"), block, true);
  at("left").value = `${r}.${e}`;
  at("right").value = "";
  if (versus !== undefined) {
    const { seed } = block.rows[r].evaluations[e];
    const same = block.rows[versus].evaluations.findIndex((each) => each.seed === seed);
    at("right").value = `${versus}.${other ?? Math.max(0, same)}`;
  }
  at("find").value = "";
  at("order").value = versus === undefined ? "" : "apart";
  if (!dialog.open) {
    const whole = `#b${number}-r${r}${versus === undefined ? "" : `-r${versus}`}`;
    const links = [...document.links].filter((each) => [link, whole].includes(each.getAttribute("href")));
    opener = links.find((each) => each === document.activeElement) ?? links[0];
    dialog.showModal();
  }
  at("examples-title").focus();
  load();
}

async function load() {
  const mine = ++asked;
  const { block } = chosen;
  const picked = [at("left").value, at("right").value].filter(Boolean).map((text) => text.split(".").map(Number));
  at("state").textContent = "Unpacking the records…";
  at("list").replaceChildren();
  at("record").replaceChildren();
  try {
    const found = await Promise.all(picked.map(([r, e]) => recordsOf(block.rows[r].evaluations[e].records)));
    if (mine !== asked) return;
    chosen.sides = found.map((records) => byName(records, block));
    chosen.labels = picked.map(([r, e], side) => `${"AB"[side]}: ${called(block.rows[r], e)}`);
    at("examples-title").textContent = picked.map(([r]) => `${block.rows[r].name} ${block.rows[r].value}`).join(" against ");
    arrange();
  } catch (error) {
    if (mine === asked) at("state").textContent = `These records are not here: ${error.message}`;
  }
}

function arrange() {
  const { block, sides } = chosen;
  const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const names = [...new Set(sides.flatMap((side) => [...side.keys()]))];
  let list = names.map((name) => {
    const both = sides.map((side) => side.get(name) ?? null);
    const scores = both.map((each) => each?.score ?? null);
    return { name, both, scores, apart: scores.length > 1 && !scores.includes(null) ? scores[0] - scores[1] : null };
  });
  if (words.length)
    list = list.filter(({ name, both }) => {
      const text = `${name} ${both.map((each) => JSON.stringify(each?.record ?? ""))}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  const order = at("order").value;
  const last = (value, sign) => (value === null ? Infinity : sign * value);
  if (order === "low") list.sort((a, b) => last(a.scores[0], 1) - last(b.scores[0], 1) || 0);
  if (order === "high") list.sort((a, b) => last(a.scores[0], -1) - last(b.scores[0], -1) || 0);
  if (order === "apart") list.sort((a, b) => Math.abs(b.apart ?? 0) - Math.abs(a.apart ?? 0));
  Object.assign(chosen, { list, start: 0 });
  // The direction is the metric's; which row is better is the report's to say.
  const higher = (sign) => list.filter(({ apart }) => apart !== null && apart * sign > SAME).length;
  at("state").textContent =
    `${list.length.toLocaleString("en")} of ${names.length.toLocaleString("en")} examples` +
    (sides.length > 1 ? `; A higher on ${higher(1)}, B higher on ${higher(-1)} (${block.higher ? "higher" : "lower"} is better)` : "");
  page();
  if (list.length) begin();
  else at("record").replaceChildren();
}

// Show the example that the link names, or else the first.
function begin() {
  const number = Math.max(0, chosen.list.findIndex(({ name }) => name === chosen.wanted));
  chosen.start = number - (number % PAGE);
  if (chosen.start) page();
  choose(chosen.list[number], at("list").children[number % PAGE].querySelector("button"));
}

function page() {
  const { list, start } = chosen;
  const rows = list.slice(start, start + PAGE).map((each) => {
    const button = element("button", "", element("span", "name", each.name));
    const said = each.scores.map((score) => (score === null ? "no score" : shown(Number(score.toPrecision(4))))).join(" : ");
    const sign = each.apart === null || Math.abs(each.apart) <= SAME ? "" : each.apart > 0 ? " A higher" : " B higher";
    button.append(element("span", "score", said, sign && element("strong", "", sign)));
    button.type = "button";
    button.addEventListener("click", () => choose(each, button));
    return element("li", "", button);
  });
  at("list").start = start + 1;
  at("list").replaceChildren(...rows);
  at("at").textContent = list.length ? `${start + 1} to ${Math.min(start + PAGE, list.length)} of ${list.length}` : "none";
  at("back").disabled = start === 0;
  at("next").disabled = start + PAGE >= list.length;
}

function choose(each, button) {
  for (const other of at("list").querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  button?.setAttribute("aria-current", "true");
  showRecords(at("record"), each.both.map((side) => side?.record ?? null), chosen.block.view, chosen.labels);
  at("record").setAttribute("aria-label", `Example ${each.name}`);
  at("record").scrollTop = 0;
  history.replaceState(null, "", address(each.name));
}

function follow() {
  if (partsOf(location.hash)) open(location.hash);
  else if (dialog.open) dialog.close();
}

// Arrow keys walk through the list, so that no one has to pass fifty buttons with the tab key.
at("list").addEventListener("keydown", (event) => {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target.closest("li")?.[step]?.querySelector("button");
  if (!next) return;
  event.preventDefault();
  next.focus();
  next.click();
});
const move = (by) => () => {
  chosen.start += by;
  page();
};
at("back").addEventListener("click", move(-PAGE));
at("next").addEventListener("click", move(PAGE));
at("left").addEventListener("change", load);
at("right").addEventListener("change", load);
at("order").addEventListener("change", arrange);
at("find").addEventListener("input", arrange);
at("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  // The address forgets the example without a jump.
  history.replaceState(null, "", location.pathname + location.search);
  opener?.focus();
});
window.addEventListener("hashchange", follow);
if (location.hash) follow();
else if (data.opens) open(data.opens);
