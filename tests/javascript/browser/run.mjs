// Runs the test file that the address names, and leaves its results where the driver reads them.

window.results = (async () => {
  const { run } = await import("./test.mjs");
  await import(new URLSearchParams(location.search).get("file"));
  return run();
})();
