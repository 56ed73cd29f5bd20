// What the test files use of Node's strict assertions, for a page.

function fail(message, found, expected) {
  throw new Error(`${message}\n  found:    ${JSON.stringify(found)}\n  expected: ${JSON.stringify(expected)}`);
}

/** Own enumerable properties, prototypes and identity of what is no object, as `deepStrictEqual` compares them. */
function same(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Map || a instanceof Set) return a.size === b.size && same([...a], [...b]);
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

const assert = {
  ok(value, message = "not true") { if (!value) fail(message, value, true); },
  equal(found, expected, message = "not equal") { if (!Object.is(found, expected)) fail(message, found, expected); },
  deepEqual(found, expected, message = "not equal in depth") { if (!same(found, expected)) fail(message, found, expected); },
  match(text, pattern) { if (!pattern.test(text)) fail("no match", text, String(pattern)); },
  async rejects(promise, expected) {
    let error;
    try {
      await (typeof promise === "function" ? promise() : promise);
    } catch (found) {
      error = found;
    }
    if (error === undefined) fail("it was not rejected", undefined, String(expected));
    if (expected instanceof RegExp) assert.match(String(error), expected);
    else if (typeof expected === "function") {
      if (expected.prototype === undefined || !(error instanceof expected)) assert.ok(!Error.isPrototypeOf(expected) && expected(error) === true, `another error: ${error}`);
    } else for (const [key, value] of Object.entries(expected ?? {})) assert.deepEqual(error[key], value);
  },
};

export default assert;
