// The certified OpenID Connect provider of npm with two users: node oidc_provider.mjs PACKAGE PORT CALLBACK SECONDS
// PKCE is required, access tokens last SECONDS, and groups are told by userinfo alone, for the scope `groups`.
import { pathToFileURL } from "node:url";

const [home, port, callback, seconds] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(`${home}/lib/index.js`));
const groups = { ann: ["oncology"], eve: ["strangers"] };

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{ client_id: "connectors", client_secret: "of-the-test", redirect_uris: [callback] }],
  pkce: { required: () => true },
  claims: { openid: ["sub"], email: ["email"], groups: ["groups"] },
  cookies: { keys: ["of-the-test"] },
  ttl: { AccessToken: Number(seconds), Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.org`, groups: groups[id] ?? [] }),
  }),
});
provider.listen(Number(port), "127.0.0.1");
