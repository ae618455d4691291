// Asymmetrik's FHIR server with resources of a file: node asymmetrik_core.cjs PACKAGES PORT FILE
// PACKAGES is the node_modules that has @asymmetrik. The framework hands a service its search parameters, without
// _count and _sort, and the service finds: here in FILE, which has a JSON list of resources, read anew for each search.
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const [home, port, file] = process.argv.slice(2);
const load = createRequire(`${home}/@asymmetrik/node-fhir-server-core/package.json`);
const core = load("@asymmetrik/node-fhir-server-core");
const has = { ge: (a, b) => a >= b, gt: (a, b) => a > b, le: (a, b) => a <= b, lt: (a, b) => a < b };

function service(kind) {
  return {
    async search(asked) {
      let found = JSON.parse(readFileSync(file)).filter((each) => each.resourceType === kind);
      for (const bound of [asked._lastUpdated ?? []].flat()) {
        const [prefix, moment] = [bound.slice(0, 2), Date.parse(bound.slice(2))];
        found = found.filter((each) => has[prefix](Date.parse(each.meta.lastUpdated), moment));
      }
      if (asked.patient) {
        found = found.filter((each) => each.subject?.reference === `Patient/${asked.patient.replace(/^Patient\//, "")}`);
      }
      const entry = found.map((resource) => ({ resource, search: { mode: "match" } }));
      return { resourceType: "Bundle", type: "searchset", total: entry.length, entry };
    },
  };
}

const profiles = Object.fromEntries(
  ["Patient", "Observation"].map((kind) => [kind.toLowerCase(), { service: service(kind), versions: ["4_0_1"] }]),
);
core.initialize({ profiles, logging: { level: "error" } }).listen(Number(port), () => {});
