// The operator's page: what is on now, every two seconds, and one call's steps on request.

const EVERY_MS = 2000;
const CHANNELS = ["chat", "call", "video", "third_party"];
let chosen = "";

/** @param {string} selector @returns {HTMLElement} */
const find = (selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

/** @param {unknown} text @param {string} [kind] */
function cell(text, kind = "") {
  const made = document.createElement("td");
  made.className = kind;
  made.textContent = text === null || text === undefined ? "" : String(text);
  return made;
}

/** @param {number} seconds */
function duration(seconds) {
  const whole = Math.floor(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** @param {HTMLElement[]} cells */
function row(cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

/** @param {any} call */
function callRow(call) {
  const state = call.left_s === null ? call.state : `${call.state}, ${Math.max(0, Math.ceil(call.left_s))} s left`;
  const session = cell("");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = call.session;
  button.onclick = () => { chosen = call.session; showTimeline(); };
  session.append(button);
  return row([cell(call.recording ? `${state}, recorded` : state), cell(duration(call.age_s), "number"), session, cell(call.org),
    cell(call.conversation), cell(call.visitor), cell(call.agent), cell(call.device)]);
}

/** @param {any} agent */
function agentRow(agent) {
  const states = CHANNELS.map((channel) => {
    const status = agent.channels[channel];
    const made = cell(status ? status.declared : "");
    if (status) made.dataset.color = status.color;
    if (status?.reasons.length) {
      const why = document.createElement("small");
      why.textContent = ` ${status.reasons.join(", ").replaceAll("_", " ")}`;
      made.append(why);
    }
    return made;
  });
  return row([cell(agent.name ? `${agent.name} (${agent.agent})` : agent.agent), cell(agent.org), cell(agent.groups.join(", ")),
    cell(agent.chats, "number"), cell(agent.devices.join(", ")), ...states]);
}

/** @param {string} table @param {HTMLElement[]} rows */
function fill(table, rows) {
  find(`${table} tbody`).replaceChildren(...rows);
  find(table).hidden = rows.length === 0;
}

async function showTimeline() {
  find("#timeline").hidden = !chosen;
  if (!chosen) return;
  const answer = await fetch(`/calls/${encodeURIComponent(chosen)}`);
  if (!answer.ok) { chosen = ""; find("#timeline").hidden = true; return; }
  find("#timeline-session").textContent = chosen;
  const steps = await answer.json();
  find("#steps").replaceChildren(...steps.map((/** @type {any} */ step) => row([
    cell(new Date(step.at).toISOString().slice(11, 23), "number"), cell(step.row), cell(step.event), cell(step.from),
    cell(step.to), cell(step.actor)])));
}

async function look() {
  const totals = find("#totals");
  try {
    const view = await (await fetch("/calls")).json();
    fill("#calls", view.calls.map(callRow));
    fill("#agents", view.agents.map(agentRow));
    find("#no-calls").hidden = view.calls.length > 0;
    find("#no-agents").hidden = view.agents.length > 0;
    const { calls, agents, conversations } = view.totals;
    totals.textContent = `${calls} calls, ${agents} agents, ${conversations} open conversations${view.draining ? "; draining" : ""}`;
    totals.className = "";
    await showTimeline();
  } catch {
    totals.textContent = "The server does not answer; what stands below is old.";
    totals.className = "stale";
  }
  setTimeout(look, EVERY_MS);
}

find("#timeline-close").onclick = () => { chosen = ""; showTimeline(); };
look();
