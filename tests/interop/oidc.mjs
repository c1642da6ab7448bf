// An authorization server: npm oidc-provider, and a person who logs in and agrees to everything at once.
//
//     node oidc.mjs ISSUER RESOURCE SECONDS [ask]
//
// Anyone may register. PKCE is required, refresh tokens are rotated, and access tokens are JWTs for RESOURCE
// that live for SECONDS. With `ask` it shows a page, and the person in front of it says yes or no.
//
// `GET /control/log`, which is for tests only, has what came to its endpoints, with parameters and tokens.

import { generateKeyPairSync } from "node:crypto";
import Provider, { errors } from "oidc-provider";

const [issuer, resource, seconds, ask] = process.argv.slice(2);
const scope = "tools";
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...key, use: "sig", alg: "RS256" }] },
  cookies: { keys: ["for tests only"] },
  scopes: ["openid", "offline_access", scope],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  // Also without `offline_access`: not every client knows that OpenID word.
  issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
  ttl: { AccessToken: Number(seconds), Grant: 3600, RefreshToken: 3600, Session: 3600, Interaction: 60 },
  findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    revocation: { enabled: true, allowedPolicy: (_, client, token) => token.clientId === client.clientId },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo(_, indicator) {
        if (indicator !== resource) throw new errors.InvalidTarget(`not ${resource}`);
        return { scope, audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } };
      },
    },
  },
});

const log = [];

provider.use(async (ctx, next) => {
  if (ctx.path === "/control/log") {
    ctx.body = log;
  } else if (ctx.path === "/.well-known/oauth-authorization-server") {
    // RFC 8414's name for the same document.
    ctx.path = "/.well-known/openid-configuration";
    await next();
  } else if (ctx.path.startsWith("/interaction/")) {
    await agree(ctx);
  } else {
    await next();
    note(ctx);
  }
});

// Answers the one question that the provider has, whichever it is.
async function agree(ctx) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  if (prompt.name === "login") return finish(ctx, { login: { accountId: "somebody" } });

  if (ask && !ctx.query.answer) {
    ctx.type = "html";
    ctx.body = `<title>Consent</title><h1>${params.client_id} wants ${params.scope}</h1><a href="?answer=yes">Allow</a> <a href="?answer=no">Refuse</a>`;
    return;
  }
  if (ctx.query.answer === "no") return finish(ctx, { error: "access_denied", error_description: "The person said no." });

  const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(" "));
  for (const [indicator, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(indicator, scopes.join(" "));
  }
  return finish(ctx, { consent: { grantId: await grant.save() } });
}

async function finish(ctx, answers) {
  await provider.interactionFinished(ctx.req, ctx.res, answers, { mergeWithLastSubmission: true });
  ctx.respond = false;
}

function note(ctx) {
  const route = ctx.oidc?.route;
  if (!["authorization", "registration", "token", "revocation"].includes(route)) return;
  log.push({
    route,
    status: ctx.status,
    params: ctx.oidc.params,
    // What was sent, where it is not the parameters: the metadata of a registration.
    body: route === "registration" ? ctx.oidc.body : undefined,
    answer: route === "authorization" ? undefined : ctx.body,
    client: ctx.oidc.client?.metadata(),
  });
}

provider.on("server_error", (_, error) => console.error(error));
provider.listen(new URL(issuer).port, "127.0.0.1", () => console.log(`${issuer} signs for ${resource}`));
