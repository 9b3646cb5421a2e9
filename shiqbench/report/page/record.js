// One record, or two records of the same example side by side. Text is only ever set as text, never as HTML.

function element(name, kind, ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

function parsed(value) {
  if (typeof value !== "string") return null;
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}

function shown(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  if (typeof value === "string") return value;
  return JSON.stringify(value);
}

// The messages of a conversation: {role, content, more}; null if the column holds no such list.
function messages(text) {
  const list = parsed(text);
  if (!Array.isArray(list)) return null;
  return list.map((each) => {
    if (Array.isArray(each)) return { role: shown(each[0]), content: shown(each[1]), more: {} };
    if (each === null || typeof each !== "object") return { role: "?", content: shown(each), more: {} };
    const { role, content, ...more } = each;
    return { role: shown(role), content: shown(content), more };
  });
}

function callText([name, positional, named]) {
  const given = [...(positional ?? []), ...Object.entries(named ?? {}).map(([k, v]) => `${k}=${JSON.stringify(v)}`)];
  return `${name}(${given.map((v) => (typeof v === "string" ? v : JSON.stringify(v))).join(", ")})`;
}

// A record cut into parts that can be aligned with those of another record: {head, body, kind, note}.
function parts(record, view) {
  const turns = [];
  const found = (view.conversation && messages(record[view.conversation])) || [];
  const answer = view.answer && record[view.answer];
  if (typeof answer === "string") found.push({ role: "assistant", content: answer, more: {} });
  const right = (view.turns && parsed(record[view.turns])) || [];
  const calls = (view.calls && parsed(record[view.calls])) || [];
  let turn = [];
  let number = -1;
  const close = () => {
    const made = number >= 0 && Array.isArray(calls[number]) ? calls[number].flat() : null;
    if (made !== null && view.calls)
      turn.push({ kind: "calls", head: "calls as read", body: made.map(callText).join("\n") || "none", more: {} });
    turns.push(turn);
    turn = [];
  };
  for (const { role, content, more } of found) {
    if (role === "user") {
      close();
      number++;
    }
    const verdict = role === "user" && number < right.length ? (right[number] ? "right" : "wrong") : "";
    turn.push({ kind: role, head: role === "user" && view.turns ? `user, turn ${number + 1}` : role, body: content, more, verdict });
  }
  close();
  return turns.filter((each) => each.length);
}

// The sides of a turn with one length: messages side by side, the calls as read last.
function aligned(sides) {
  const most = Math.max(...sides.map((side) => side.filter((part) => part.kind !== "calls").length));
  return sides.map((side) => {
    const said = side.filter((part) => part.kind !== "calls");
    const calls = side.filter((part) => part.kind === "calls");
    return [...said, ...Array(most - said.length).fill(undefined), ...(sides.some((s) => s.at(-1)?.kind === "calls") ? [calls[0]] : [])];
  });
}

const marks = ([a, b]) => (a.kind === b.kind ? differences(a.body, b.body) : [[[a.body, true]], [[b.body, true]]]);

function marked(pieces) {
  return pieces.map(([text, differs]) => (differs ? element("mark", "", text) : text));
}

function message(part, pieces, label) {
  if (part === undefined) return element("div", "message nothing", element("p", "role", label ? `${label}: no message here` : ""));
  const head = element("p", "role", label ? `${label}: ${part.head}` : part.head);
  if (part.verdict) head.append(" ", element("strong", `verdict ${part.verdict}`, part.verdict === "right" ? "✓ right" : "✗ wrong"));
  const body = element("div", "text", ...(pieces ? marked(pieces) : [part.body]));
  const made = element("div", `message ${["system", "user", "assistant", "tool", "calls"].includes(part.kind) ? part.kind : "other"}`);
  if (part.kind === "system") {
    const first = part.body.length > 120 ? `${part.body.slice(0, 120)}…` : part.body;
    made.append(element("details", "", element("summary", "role", `${head.textContent}: ${first}`), body));
  } else made.append(head, body);
  const more = Object.entries(part.more).filter(([, value]) => value !== null);
  if (more.length)
    made.append(element("details", "more", element("summary", "", more.map(([name]) => name).join(", ")), element("div", "text", more.map(([name, value]) => `${name}: ${shown(value)}`).join("\n"))));
  return made;
}

// The columns of one or two records by name; columns in which two records differ are marked.
function columns(title, names, records, labels) {
  const table = element("table", "columns");
  if (records.length > 1)
    table.append(element("thead", "", element("tr", "", ...["column", ...labels].map((text) => {
      const head = element("th", "", text);
      head.scope = "col";
      return head;
    }))));
  const body = element("tbody", "");
  for (const name of names) {
    const values = records.map((record) => (record === null ? "" : shown(record[name])));
    const differ = values.length > 1 && values[0] !== values[1] && !records.includes(null);
    const words = differ && !records.every((record) => typeof record[name] === "number"); // numbers differ as a whole
    const pieces = words ? differences(values[0], values[1]) : values.map((text) => [[text, differ]]);
    const head = element("th", "", name);
    head.scope = "row";
    body.append(element("tr", differ ? "differs" : "", head, ...pieces.map((each) => element("td", "", ...marked(each)))));
  }
  table.append(body);
  const box = element("div", "scroll", table);
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", title);
  return [element("h4", "", title), box];
}

// Show one record ([record]) or two side by side ([left, right]; null where a side has none) in a container.
function showRecords(container, records, view, labels) {
  const two = records.length > 1;
  const present = records.filter((record) => record !== null);
  const names = [...new Set(present.flatMap((record) => Object.keys(record)))];
  const special = [view.conversation, view.answer, view.turns, view.calls];
  const first = view.verdict.filter((name) => names.includes(name));
  const rest = names.filter((name) => !first.includes(name) && !special.includes(name));
  const made = [];
  if (first.length) made.push(...columns("Verdict", first, records, labels));
  const cut = records.map((record) => (record === null ? [] : parts(record, view)));
  const talk = element("div", two ? "talk two" : "talk");
  const short = two ? ["A", "B"] : [""];
  for (let turn = 0; turn < Math.max(...cut.map((turns) => turns.length)); turn++) {
    const sides = aligned(cut.map((turns) => turns[turn] ?? []));
    for (let i = 0; i < sides[0].length; i++) {
      const pair = sides.map((side) => side[i]);
      const pieces = two && pair[0] && pair[1] ? marks(pair) : [];
      pair.forEach((part, side) => talk.append(message(part, pieces[side], short[side])));
    }
  }
  if (two && talk.children.length) talk.prepend(...labels.map((label) => element("p", "side", label)));
  if (talk.children.length) made.push(element("h4", "", view.answer ? "Prompt and answer" : "Conversation"), talk);
  if (rest.length) made.push(...columns(talk.children.length ? "Other columns" : "Columns", rest, records, labels));
  if (view.omit.length) made.push(element("p", "hint", `Not in this page: ${view.omit.join(", ")}.`));
  container.replaceChildren(...made);
}
