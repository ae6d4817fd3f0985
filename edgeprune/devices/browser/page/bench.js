// The part of a measurement that runs in a page: one job, one Worker, one instance of
// the runtime. It answers what edgeprune/devices/worker.py answers on other devices.

const INPUTS = 4; // fed in turn: a runtime may remember what it made of the last one
const TICKS = 20; // of the clock, that a sample lasts at least
const COARSE_MS = 0.05; // of the clock: means must do where single runs cannot be told
const HELD_BYTES = 96e6; // of files that are kept between two turns
const WEBGPU_RUNS = 280; // a page: some devices stop after a few hundred more

const RUNTIMES = {
  wasm: ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
};

const traced = []; // lines of the runtime's profiler, which prints
console.log = (...words) => traced.push(words.join(" "));

let job, ort, stage, resolution, done, total;
const files = new Map(); // bytes by name, as long as they fit
let held = 0;

self.onmessage = async ({ data }) => {
  job = data;
  stage = "import";
  try {
    ort = await runtime();
    resolution = clock();
    const run = { describe, time, profile, probe, memory, outputs, sustain }[job.mode];
    [done, total] = [0, work()];
    const before = await conditions();
    const began = performance.now();
    const results = await run();
    self.postMessage({
      answer: {
        ok: true,
        results,
        runtime: `onnxruntime-web ${ort.env.versions.web} ${job.provider}`,
        pinned_cpus: [],
        seconds: (performance.now() - began) / 1e3,
        conditions: [before, await conditions()],
        providers: [job.provider],
        clock_ms: resolution,
      },
    });
  } catch (error) {
    const text = String((error && error.message) || error);
    self.postMessage({ answer: { ok: false, stage, error: text } });
  }
};

async function runtime() {
  const [name, wasm] = RUNTIMES[job.provider];
  const found = await import(`${job.base}ort/${name}`);
  found.env.wasm.wasmPaths = { wasm: `${job.base}ort/${wasm}` };
  found.env.wasm.numThreads = job.threads;
  found.env.logLevel = "error";
  if (job.threads > 1 && !self.crossOriginIsolated) {
    throw new Error(
      `${job.threads} threads need a secure page: serve with --https or --adb, or set ` +
        "runtime.threads to 1"
    );
  }
  if (job.provider === "webgpu") await usableGpu();
  return found;
}

async function usableGpu() {
  const adapter = navigator.gpu && (await navigator.gpu.requestAdapter());
  if (!adapter) throw new Error("this browser offers no WebGPU adapter to this page");
  const facts = adapter.info || {};
  if (facts.isFallbackAdapter || adapter.isFallbackAdapter) {
    throw new Error("WebGPU is computed in software here: its times say nothing");
  }
}

// The smallest step of the clock, in ms.
function clock() {
  const steps = [];
  let last = performance.now();
  while (steps.length < 20) {
    const now = performance.now();
    if (now > last) steps.push(now - last);
    last = now;
  }
  return Math.min(...steps);
}

// How many turns of models there are, for the progress bar.
function work() {
  const models = job.models.length;
  if (job.mode === "time") return models * (job.rounds + 1);
  if (job.mode === "probe") return job.rounds * (models - 1);
  if (job.mode === "sustain") return Math.ceil(job.sustained_s / 60);
  return models;
}

function step() {
  done += 1;
  self.postMessage({ progress: { done, total } });
}

async function bytesOf(name) {
  if (files.has(name)) return files.get(name);
  const reply = await fetch(`${job.base}file/${name}`);
  if (!reply.ok) throw new Error(`the file could not be fetched: ${reply.status}`);
  const bytes = new Uint8Array(await reply.arrayBuffer());
  if (held + bytes.length <= HELD_BYTES) {
    files.set(name, bytes);
    held += bytes.length;
  }
  return bytes;
}

async function load(name, profiled = false) {
  stage = "load";
  const bytes = await bytesOf(name);
  const start = performance.now();
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [job.provider],
    graphOptimizationLevel: LEVELS[job.optimization],
    enableProfiling: profiled,
    logSeverityLevel: 3,
    intraOpNumThreads: job.threads,
  });
  const load_ms = performance.now() - start;
  const random = gaussian(job.seed);
  const feeds = [];
  for (let at = 0; at < INPUTS; at++) {
    feeds.push(
      Object.fromEntries(
        session.inputMetadata.map((item) => [item.name, feed(item, random)])
      )
    );
  }
  stage = "run";
  return { session, feeds, turn: 0, inner: 1, runs: 0, load_ms };
}

const LEVELS = {
  ORT_DISABLE_ALL: "disabled",
  ORT_ENABLE_BASIC: "basic",
  ORT_ENABLE_EXTENDED: "extended",
  ORT_ENABLE_LAYOUT: "layout",
  ORT_ENABLE_ALL: "all",
};

function feed(item, random) {
  const shape = item.shape.map((size) => (typeof size === "number" && size > 0 ? size : job.batch));
  const values = new Float32Array(shape.reduce((one, two) => one * two, 1));
  const whole = item.type in WHOLE;
  for (let at = 0; at < values.length; at++) values[at] = whole ? random() > 0 : random();
  return tensor(item, values, shape);
}

// Numbers in the type that an input has; any table has rows for 0 and 1.
const WHOLE = {
  int64: (values) => BigInt64Array.from(values, (value) => BigInt(Math.round(value))),
  int32: (values) => Int32Array.from(values),
  uint8: (values) => Uint8Array.from(values),
  bool: (values) => Uint8Array.from(values),
};

function tensor(item, values, shape) {
  const made = WHOLE[item.type];
  return made ? new ort.Tensor(item.type, made(values), shape) : new ort.Tensor("float32", values, shape);
}

// Normal values, by Box and Muller from a 32-bit generator.
function gaussian(seed) {
  let state = (seed + 1) | 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

async function run(item) {
  const outputs = await item.session.run(item.feeds[item.turn++ % INPUTS]);
  item.runs += 1;
  if (job.provider === "webgpu") {
    for (const made of Object.values(outputs)) await made.getData(true);
  } else {
    for (const made of Object.values(outputs)) made.dispose();
  }
}

// One sample in ms: a single inference, or the mean of as many as the clock can tell.
async function once(item) {
  const start = performance.now();
  for (let at = 0; at < item.inner; at++) await run(item);
  return (performance.now() - start) / item.inner;
}

async function repeat(item, least, seconds) {
  const samples = [];
  const start = performance.now();
  const most = job.provider === "webgpu" ? Math.max(least, WEBGPU_RUNS / work()) : Infinity;
  while (
    (samples.length < least || performance.now() - start < seconds * 1e3) &&
    samples.length < most
  ) {
    samples.push(await once(item));
  }
  return samples;
}

// Warm up; then a sample is made long enough for the clock.
async function warm(item, least, seconds) {
  const samples = await repeat(item, least, seconds);
  const start = performance.now();
  await repeat(item, Math.max(least, 3), (TICKS * resolution) / 1e3);
  const each = (performance.now() - start) / Math.max(item.runs - samples.length, 1);
  item.inner = Math.max(1, Math.ceil((TICKS * resolution) / Math.max(each, 1e-4)));
  return samples;
}

async function describe() {
  return [];
}

async function time() {
  const items = [];
  for (const name of job.models) items.push(await load(name));
  const warmups = [];
  for (const item of items) {
    warmups.push(await warm(item, job.warmup, job.warmup_s));
    step();
  }
  const rounds = items.map(() => []);
  for (let round = 0; round < job.rounds; round++) {
    // Forwards, then backwards: a load that comes and goes favours nobody.
    const order = items.map((_, at) => (round % 2 ? items.length - 1 - at : at));
    for (const at of order) {
      rounds[at].push(await repeat(items[at], job.iterations, job.seconds));
      step();
    }
  }
  const results = items.map((item, at) => ({
    rounds_ms: rounds[at],
    warmup_ms: warmups[at],
    load_ms: item.load_ms,
    provider: job.provider,
  }));
  for (const item of items) await item.session.release();
  return results;
}

async function profile() {
  const found = [];
  for (const name of job.models) {
    const item = await load(name, true);
    await repeat(item, job.warmup, 0);
    await repeat(item, job.iterations, job.seconds);
    found.push({ nodes: await operators(item) });
    step();
  }
  return found;
}

async function probe() {
  const [first, ...models] = job.models;
  const found = models.map(() => ({ reference_ms: [], samples_ms: [], nodes: [] }));
  let warmup_s = job.warmup_s;
  for (let round = 0; round < job.rounds; round++) {
    const reference = await load(first);
    await warm(reference, job.warmup, warmup_s);
    let before = await timed(reference);
    warmup_s = 0;
    for (let at = 0; at < models.length; at++) {
      const plain = await load(models[at]);
      await warm(plain, job.warmup, 0);
      found[at].samples_ms.push(await timed(plain));
      await plain.session.release();
      const watched = await load(models[at], true);
      await timed(watched);
      const after = await timed(reference);
      found[at].reference_ms.push([...before, ...after]);
      found[at].nodes.push(await operators(watched));
      before = after;
      step();
    }
    await reference.session.release();
  }
  return found;
}

async function timed(item) {
  await repeat(item, job.warmup, job.seconds / 3);
  return repeat(item, job.iterations, job.seconds);
}

async function memory() {
  // A page is not told what it takes: only that the model loads and runs.
  const item = await load(job.models[0]);
  await once(item);
  await item.session.release();
  return [{ process_peak_bytes: 0, run_peak_bytes: null }];
}

async function outputs() {
  const found = [];
  for (const name of job.models) {
    const item = await load(name);
    const names = item.session.inputNames;
    const made = [];
    for (const sample of job.inputs) {
      const facts = item.session.inputMetadata;
      const feeds = Object.fromEntries(
        sample.map((held, at) => [names[at], received(facts[at], held)]),
      );
      const answers = await item.session.run(feeds);
      const told = [];
      for (const output of item.session.outputNames) told.push(await sent(answers[output]));
      made.push(told);
    }
    await item.session.release();
    found.push({ outputs: made });
    step();
  }
  return found;
}

function received(item, { shape, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return tensor(item, new Float32Array(bytes.buffer), shape);
}

async function sent(tensor) {
  const values = Float32Array.from(await tensor.getData());
  const bytes = new Uint8Array(values.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return { shape: [...tensor.dims], data: btoa(text) };
}

async function sustain() {
  const item = await load(job.models[0]);
  const minutes = [];
  const start = performance.now();
  let samples = [];
  let now = start; // read once a run: what ends the last minute ends the loop
  while (now - start < job.sustained_s * 1e3) {
    samples.push(await once(item));
    now = performance.now();
    const due = Math.min(60 * (minutes.length + 1), job.sustained_s) * 1e3;
    if (now - start >= due) {
      samples.sort((one, two) => one - two);
      minutes.push({
        median_ms: samples[samples.length >> 1],
        runs: samples.length,
        after: await conditions(),
      });
      samples = [];
      step();
    }
  }
  return minutes;
}

// A session's profile: its operators in the order of the first run.
async function operators(item) {
  traced.length = 0;
  await item.session.endProfiling();
  await item.session.release();
  const found = new Map();
  for (const line of traced) {
    const event = parsed(line);
    if (!event || event.cat !== "Node" || !event.name.endsWith("_kernel_time")) continue;
    const name = event.name.slice(0, -"_kernel_time".length);
    const facts = event.args;
    if (!found.has(name)) {
      found.set(name, {
        name,
        operator: facts.op_name || "",
        read: shapeOf(facts.input_type_shape),
        made: shapeOf(facts.output_type_shape),
        ms: [],
      });
    }
    found.get(name).ms.push(event.dur / 1e3);
  }
  traced.length = 0;
  for (const node of found.values()) node.ms = middle(node.ms.slice(job.warmup));
  return [...found.values()];
}

function parsed(line) {
  try {
    return JSON.parse(line.replace(/,\s*$/, ""));
  } catch {
    return null; // the brackets around the list
  }
}

// The mean of the quicker half; where the clock has long steps, of nine tenths: which
// half a run falls into would be chance.
function middle(samples) {
  const ordered = [...samples].sort((one, two) => one - two);
  const share = resolution > COARSE_MS ? 0.9 : 0.5;
  const kept = ordered.slice(0, Math.max(1, Math.floor(ordered.length * share)));
  return kept.reduce((one, two) => one + two, 0) / kept.length;
}

function shapeOf(tensors) {
  for (const item of tensors || []) for (const shape of Object.values(item)) return shape;
  return [];
}

async function conditions() {
  return { governor: null, frequency_mhz: null, temperature_c: null, load: null, throttled: null };
}
