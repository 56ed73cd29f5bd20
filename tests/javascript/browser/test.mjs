// What the test files use of Node's test runner, for a page: tests in their order, hooks around each, a result at the end.

const tests = [];
const hooks = { before: [], after: [] };
const { setTimeout: later } = globalThis; // the tests bring a clock of their own

export function test(name, run) { tests.push({ name, run }); }
export function beforeEach(run) { hooks.before.push(run); }
export function afterEach(run) { hooks.after.push(run); }

/** One test may take so long of the real time; their own clocks stand still. */
const LIMIT_MS = 5000;

function limited(name, running) {
  return Promise.race([running, new Promise((_, reject) => { later(() => reject(new Error(`${name} does not end`)), LIMIT_MS); })]);
}

/** @returns {Promise<{passed: string[], failed: string[]}>} names; of what failed with the reason */
export async function run() {
  const passed = [], failed = [];
  for (const { name, run: body } of tests) {
    try {
      for (const hook of hooks.before) await limited(name, hook());
      await limited(name, body());
      for (const hook of hooks.after) await limited(name, hook());
      passed.push(name);
    } catch (error) {
      failed.push(`${name}: ${error?.stack ?? error}`);
    }
  }
  return { passed, failed };
}
