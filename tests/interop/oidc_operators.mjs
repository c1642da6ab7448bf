// A provider of OpenID Connect for operators: npm oidc-provider, and a person who logs in and agrees at once.
//
//     node oidc_operators.mjs ISSUER CLIENT SECRET REDIRECT_URI
//
// The person's groups are in the claim `groups`, in ID tokens and in the userinfo. `/control/groups/a,b` changes them, and
// `/control/leave` has the person's grants and tokens be good for nothing; both are for tests only.

import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const [issuer, client_id, client_secret, redirect_uri] = process.argv.slice(2);
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
let groups = ["ops"];
let isThere = true;

const claims = (sub) => ({ sub, preferred_username: "ann", groups });
const provider = new Provider(issuer, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect_uri], grant_types: ["authorization_code", "refresh_token"] }],
  jwks: { keys: [{ ...rsa, use: "sig", alg: "RS256", kid: "r" }, { ...ec, use: "sig", alg: "ES256", kid: "e" }] },
  cookies: { keys: ["for tests only"] },
  scopes: ["openid", "profile", "email", "offline_access"],
  claims: { openid: ["sub", "groups"], profile: ["preferred_username"], email: ["email"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  findAccount: (_, accountId) => (isThere ? { accountId, claims: () => claims(accountId) } : undefined),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  features: { devInteractions: { enabled: false } },
});

provider.use(async (ctx, next) => {
  if (ctx.path === "/control/ready") {
    ctx.body = { issuer };
  } else if (ctx.path === "/control/leave") {
    isThere = false;
    ctx.body = {};
  } else if (ctx.path.startsWith("/control/groups/")) {
    groups = decodeURIComponent(ctx.path.slice("/control/groups/".length)).split(",");
    ctx.body = { groups };
  } else if (ctx.path.startsWith("/interaction/")) {
    await agree(ctx);
  } else {
    await next();
  }
});

// Answers the one question that the provider has, whichever it is.
async function agree(ctx) {
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  let answers = { login: { accountId: "somebody" } };
  if (prompt.name !== "login") {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    answers = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(ctx.req, ctx.res, answers, { mergeWithLastSubmission: true });
  ctx.respond = false;
}

provider.on("server_error", (_, error) => console.error(error));
provider.listen(new URL(issuer).port, "127.0.0.1", () => console.log(`${issuer} signs people in`));
