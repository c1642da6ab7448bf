// An authorization server: npm oidc-provider, and a person who logs in and agrees to everything at once.
//
//     node oidc.mjs ISSUER RESOURCE SECONDS [ask] [SHAPE]
//
// Anyone may register. PKCE is required, refresh tokens are rotated, and access tokens are JWTs for RESOURCE
// that live for SECONDS. With `ask` it shows a page, and the person in front of it says yes or no. With the name of a
// SHAPE it has the habits of a real provider: `oidc_shapes.mjs` has them.
//
// For machines there are two clients, one with a secret and one with a key, and the tokens of people are exchanged:
// `oidc_machines.mjs` has both.
//
// For tests only: `GET /control/log` has what came to its endpoints, with parameters and tokens, `/control/machines`
// the two clients, and `/control/person?sub=NAME&aud=NAME` a token that says who somebody is.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import Provider, { errors } from "oidc-provider";
import { Machines } from "./oidc_machines.mjs";
import { OPENID, answered, shapes } from "./oidc_shapes.mjs";

const [issuer, resource, seconds, ...options] = process.argv.slice(2);
const ask = options.includes("ask");
const shape = shapes[options.find((option) => option in shapes) ?? "plain"];
const path = new URL(issuer).pathname.replace(/\/$/, "");
const offline = new Set();
const scope = "tools";
const keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
const key = keys.privateKey.export({ format: "jwk" });
const machines = new Machines(issuer, keys);
const resourceServer = { scope, audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } };

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...key, use: "sig", alg: "RS256" }] },
  clients: machines.clients,
  cookies: { keys: ["for tests only"] },
  scopes: ["openid", "offline_access", scope],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  // Also without `offline_access`: not every client knows that OpenID word.
  issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token") && (!shape.offline || offline.has(client.clientId)),
  ttl: { AccessToken: Number(seconds), ClientCredentials: Number(seconds), Grant: 3600, RefreshToken: 3600, Session: 3600, Interaction: 60 },
  findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  interactions: { url: (_, { uid }) => `${path}/interaction/${uid}` },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    registration: { enabled: true },
    revocation: { enabled: true, allowedPolicy: (_, client, token) => token.clientId === client.clientId },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => (shape.resource === "wanted" ? undefined : resource),
      useGrantedResource: () => shape.resource !== "wanted",
      getResourceServerInfo(_, indicator) {
        if (indicator !== resource) throw new errors.InvalidTarget(`not ${resource}`);
        return resourceServer;
      },
    },
  },
});

machines.exchange(provider, resource, resourceServer);

const log = [];

provider.use(async (ctx, next) => {
  if (ctx.path === "/control/log") {
    ctx.body = log;
  } else if (ctx.path === "/control/machines") {
    ctx.body = machines.secrets;
  } else if (ctx.path === "/control/person") {
    ctx.body = machines.person(ctx.query);
  } else if (ctx.path === OPENID) {
    await next();
    ctx.body = shape.document(ctx.body);
  } else if (answered(shape, ctx)) {
    note(ctx);
  } else if (ctx.path.startsWith("/interaction/")) {
    await agree(ctx);
  } else {
    if (ctx.path === "/auth" && ctx.query[shape.offline] === "offline") offline.add(ctx.query.client_id);
    await next();
    sayIssuer(ctx);
    note(ctx);
  }
});

// A callback has the issuer as the metadata spell it.
function sayIssuer(ctx) {
  const location = ctx.response.get("location");
  if (!shape.iss || !location?.includes("iss=")) return;
  const back = new URL(location, issuer);
  back.searchParams.set("iss", shape.iss(back.searchParams.get("iss")));
  ctx.response.set("location", back.href);
}

// The metadata are where the shape has them, under whichever name; all else is below the issuer's path.
function route(request, response) {
  const asked = request.url.split("?")[0];
  const at = (url) => {
    [request.originalUrl, request.url] = [path + url, url];
    return provider.callback()(request, response);
  };
  if (shape.places(path).includes(asked)) return at(OPENID);
  if (asked.includes("/.well-known/") || !asked.startsWith(`${path}/`)) return response.writeHead(404).end();
  return at(request.url.slice(path.length));
}

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
createServer(route).listen(new URL(issuer).port, "127.0.0.1", () => console.log(`${issuer} signs for ${resource}`));
