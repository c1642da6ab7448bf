// What real authorization servers do otherwise than oidc-provider, as their documentation has it, one row each.
//
// `places`: where the metadata are, below an issuer's path. `document`: what they say. `resource`: whether the parameter
// is `wanted` (a token without it is opaque), `optional` (there is a default), or `refused`. `closed`: how a
// registration is refused; `iss`: what a callback says of the issuer; `byHand` in a header stands for an administrator's page. `offline`: a refresh token only for who asks.

const OAUTH = "/.well-known/oauth-authorization-server";
export const OPENID = "/.well-known/openid-configuration";

const inserted = (path) => [`${OAUTH}${path}`, `${OPENID}${path}`];
const behind = (path) => [`${path}${OPENID}`];
const without = (...names) => (document) => Object.fromEntries(Object.entries(document).filter(([name]) => !names.includes(name)));
const closed = { status: 404, body: { error: "not_found" } };

export const shapes = {
  plain: { places: inserted, document: (it) => it, resource: "wanted" },
  // The issuer is named with a slash, and states itself without one; `access_type=offline` for a refresh token.
  google: { places: (path) => [`${OPENID}${path}`], document: without("registration_endpoint"), resource: "optional", closed, offline: "access_type" },
  // No RFC 8414, no word of PKCE, no registration, and `resource` is an error.
  entra: { places: behind, document: without("registration_endpoint", "code_challenge_methods_supported"), resource: "refused", closed },
  cognito: { places: behind, document: without("registration_endpoint", "code_challenge_methods_supported"), resource: "optional", closed },
  // A registration from an address that nobody trusts.
  keycloak: {
    places: behind,
    document: (it) => it,
    resource: "optional",
    closed: {
      status: 403,
      body: { error: "insufficient_scope", error_description: "Policy 'Trusted Hosts' rejected request to client-registration service. Details: Host not trusted." },
    },
  },
  // RFC 8414's document, but behind the issuer's path.
  okta: { places: (path) => [`${path}${OAUTH}`], document: without("registration_endpoint"), resource: "optional", closed },
  // A slash at the issuer's root; opaque tokens for who names no audience.
  auth0: { places: inserted, document: (it) => ({ ...it, issuer: `${it.issuer}/` }), iss: (iss) => `${iss}/`, resource: "wanted" },
};

// Answers what oidc-provider would not, or would otherwise; true if it did.
export function answered(shape, ctx) {
  if (shape.closed && ctx.path === "/reg" && !ctx.get("x-by-hand")) {
    ctx.status = shape.closed.status;
    ctx.body = shape.closed.body;
    return true;
  }
  if (shape.resource === "refused" && ctx.path === "/auth" && ctx.query.resource) {
    const back = new URL(ctx.query.redirect_uri);
    back.searchParams.set("error", "invalid_target");
    back.searchParams.set("error_description", "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes. Trace ID: 3f2a");
    back.searchParams.set("state", ctx.query.state);
    ctx.redirect(back.href);
    return true;
  }
  return false;
}
