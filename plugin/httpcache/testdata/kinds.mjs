// Prints the kind of each test of the suite that is for proxies: "required", "optimal" or
// "check", as JSON by the test's identifier. It runs in the suite's directory.
import { pathToFileURL } from 'node:url'
const { default: suites } = await import(pathToFileURL(process.cwd() + '/tests/index.mjs'))
const kinds = {}
for (const suite of suites) {
  for (const test of suite.tests) {
    if (!test.browser_only) kinds[test.id] = test.kind || 'required'
  }
}
console.log(JSON.stringify(kinds))
