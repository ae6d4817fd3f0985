// The page on the phone: it fetches jobs, lets a Worker do each, and tells how it goes.

const base = new URL("./", location.href).href;
const id = Math.random().toString(36).slice(2) + Date.now().toString(36);
const BEAT_MS = 2000; // between signs of life
const TRIES = 10; // to deliver an answer
const ROWS = 50; // of results that stay on the page
const $ = (name) => document.getElementById(name);

let running = null; // the job at hand and its Worker
let posting = null; // the job whose answer is on its way
let stopped = false;
let awake = null;

const asked = new URL(location.href).searchParams;
$("label").value = asked.get("label") || stored() || guess();
$("setup").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
$("stop").addEventListener("click", end);
document.addEventListener("visibilitychange", seen);
if (asked.has("start")) begin();

function stored() {
  try {
    return localStorage.getItem("edgeprune-label") || "";
  } catch {
    return ""; // private windows keep nothing
  }
}

function guess() {
  const found = navigator.userAgent.match(/\((?:Linux; )?(Android \d+|iPhone|iPad)[;) ]/);
  return found ? found[1] : "";
}

async function begin() {
  const label = $("label").value.trim();
  if (!label) return $("label").focus();
  try {
    localStorage.setItem("edgeprune-label", label);
  } catch {
    // then it is asked again next time
  }
  $("setup").hidden = true;
  $("run").hidden = false;
  $("state").focus(); // what had it is gone
  stopped = false;
  await keepAwake();
  if (!window.isSecureContext) {
    warn("insecure", "This page is not secure (plain http): one thread only, and it cannot keep the screen on. Set the screen's time-out to its longest.");
  }
  while (!stopped && !(await hello())) await pause(BEAT_MS);
  beat();
  while (!stopped) await work();
}

function hello() {
  return post("hello", { page: id, label: $("label").value.trim(), ...facts() });
}

function facts() {
  return {
    agent: navigator.userAgent,
    cores: navigator.hardwareConcurrency || 1,
    memory_gb: navigator.deviceMemory || null,
    secure: window.isSecureContext,
    isolated: window.crossOriginIsolated,
    gpu: "gpu" in navigator,
    hidden: document.hidden,
  };
}

function end() {
  stopped = true;
  abandon();
  post("bye", { page: id });
  if (awake) awake.release();
  say("Stopped", "Nothing is measured any more. You can close this page.");
  $("stop").hidden = true;
}

// One job, from the question for it to its answer.
async function work() {
  if (document.hidden) return pause(500);
  const job = await get(`next?page=${id}`);
  if (!job) return pause(1000);
  if (job === "none") return;
  const names = job.names.join(", ");
  say(TITLES[job.mode] || "Measuring", names || "asking this device what it is");
  const answer = await new Promise((resolve) => {
    const worker = new Worker("bench.js", { type: "module" });
    running = { job, worker, resolve };
    worker.onmessage = ({ data }) => (data.answer ? resolve(data.answer) : advance(data.progress));
    worker.onerror = (event) =>
      resolve({ ok: false, stage: "import", error: event.message || "the Worker does not start" });
    worker.postMessage({ ...job, base });
  });
  posting = answer && job.id;
  if (running) running.worker.terminate();
  running = null;
  $("progress").hidden = true;
  if (answer !== null) {
    show(job, answer);
    const path = `answer?page=${id}&job=${job.id}`;
    for (let tries = 0; tries < TRIES && !(await post(path, answer)); tries++) await pause(BEAT_MS);
  }
  posting = null;
  if (!stopped) say("Waiting for work", "Leave this page open and in front; plug the device in.");
  if (job.provider === "webgpu") location.replace(`${base}?start=1&label=${encodeURIComponent($("label").value)}`);
}

const TITLES = {
  describe: "Saying what this device is",
  time: "Measuring",
  profile: "Measuring each operator",
  probe: "Learning what widths cost here",
  memory: "Loading a model",
  outputs: "Comparing answers",
  sustain: "Running for long",
};

function abandon() {
  if (!running) return;
  running.worker.terminate();
  running.resolve(null);
  running = null;
}

// Times of a page in the background mean nothing: the job is given back.
function seen() {
  if (document.hidden) {
    abandon();
    warn("hidden", "This page was in the background: what was being measured is measured again.");
  } else {
    keepAwake();
  }
  post("beat", { page: id, job: null, hidden: document.hidden });
}

async function beat() {
  while (!stopped) {
    const job = running ? running.job.id : posting;
    const told = await post("beat", { page: id, job, hidden: document.hidden });
    if (told && told.taken) {
      stopped = true;
      abandon();
      say("Taken over", "Another page measures now. Reload this one to take over again.");
      $("stop").hidden = true;
    } else if (told) {
      if (told.cancel && running && running.job.id === job) abandon();
      if (told.again) await hello();
    }
    await pause(BEAT_MS);
  }
}

async function keepAwake() {
  if (!navigator.wakeLock || document.hidden) return;
  try {
    awake = await navigator.wakeLock.request("screen");
  } catch {
    warn("awake", "The screen cannot be kept on: set its time-out to the longest.");
  }
}

function show(job, answer) {
  const row = document.createElement("tr");
  const cells = [new Date().toLocaleTimeString(), `${TITLES[job.mode]}: ${job.names.join(", ") || "this device"}`, ""];
  if (!answer.ok) cells[2] = "failed";
  else if (job.mode === "time") cells[2] = answer.results.map((item) => ms(item.rounds_ms.flat())).join(" / ");
  else if (job.mode === "sustain") cells[2] = answer.results.map((item) => `${item.median_ms.toFixed(2)} ms`).join(", ");
  else cells[2] = "done";
  for (const text of cells) row.appendChild(document.createElement("td")).textContent = text;
  if (!answer.ok) warn("failed", `The last measurement failed: ${answer.error}`);
  $("rows").prepend(row);
  while ($("rows").children.length > ROWS) $("rows").lastElementChild.remove();
  $("none").hidden = true;
  $("results").hidden = false;
}

function ms(samples) {
  samples.sort((one, two) => one - two);
  return `${samples[samples.length >> 1].toPrecision(3)} ms`;
}

function advance({ done, total }) {
  $("progress").hidden = false;
  $("progress").max = total;
  $("progress").value = done;
}

function say(state, detail) {
  $("state").textContent = state;
  $("detail").textContent = detail;
}

function warn(kind, text) {
  const found = document.querySelector(`#warnings li[data-kind="${kind}"]`);
  const item = found || $("warnings").appendChild(document.createElement("li"));
  item.dataset.kind = kind;
  item.textContent = text;
}

// What is there to do; null where nobody answers, "none" where there is nothing.
function get(path) {
  return ask(path, { cache: "no-store" });
}

function post(path, content) {
  return ask(path, { method: "POST", body: JSON.stringify(content) });
}

async function ask(path, how) {
  try {
    const reply = await fetch(base + path, how);
    if (reply.ok) forgive();
    if (reply.status === 204) return "none";
    if (reply.ok) return await reply.json();
  } catch {
    // told below
  }
  warn("lost", "edgeprune does not answer: is it still running, in the same network?");
  return null;
}

function forgive() {
  const item = document.querySelector('#warnings li[data-kind="lost"]');
  if (item) item.remove();
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
