// What `oidc.mjs` has for machines: clients that authorize themselves, and the exchange of people's tokens.

import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { errors } from "oidc-provider";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const PARAMETERS = ["subject_token", "subject_token_type", "requested_token_type", "audience", "resource", "scope"];

// Whom people's tokens are for.
const GATEWAY = "gateway";

export class Machines {
  constructor(issuer, keys) {
    Object.assign(this, { issuer, keys });
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwk = { ...pair.publicKey.export({ format: "jwk" }), kid: "machine-key", use: "sig", alg: "ES256" };
    this.secrets = {
      secret: randomBytes(24).toString("hex"),
      key: pair.privateKey.export({ format: "pem", type: "pkcs8" }),
    };
    const client = { grant_types: ["client_credentials", EXCHANGE], redirect_uris: [], response_types: [] };
    this.clients = [
      { ...client, client_id: "machine-secret", client_secret: this.secrets.secret },
      {
        ...client,
        client_id: "machine-key",
        token_endpoint_auth_method: "private_key_jwt",
        token_endpoint_auth_signing_alg: "ES256",
        jwks: { keys: [jwk] },
      },
    ];
  }

  // A token that says who somebody is.
  person({ sub, aud = GATEWAY }) {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: this.issuer, sub, aud, iat: now, exp: now + 300 };
    const message = [{ alg: "RS256" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return `${message}.${sign("sha256", message, this.keys.privateKey).toString("base64url")}`;
  }

  // Exchanges such a token for one of the same person's, for `resource` (RFC 8693).
  exchange(provider, resource, resourceServer) {
    const exchanged = async (ctx) => {
      const { client, params } = ctx.oidc;
      if (params.resource !== resource) throw new errors.InvalidTarget(`not ${resource}`);
      const { sub } = this.claims(params.subject_token);
      const token = new provider.AccessToken({ client, accountId: sub, scope: params.scope });
      token.resourceServer = new provider.ResourceServer(resource, resourceServer);
      ctx.body = {
        access_token: await token.save(),
        issued_token_type: ACCESS_TOKEN,
        token_type: "Bearer",
        expires_in: token.expiration,
        scope: token.scope,
      };
    };
    provider.registerGrantType(EXCHANGE, exchanged, PARAMETERS, ["resource"]);
  }

  claims(token) {
    const [head, claims, signature] = token.split(".");
    const message = `${head}.${claims}`;
    const read = JSON.parse(Buffer.from(claims ?? "", "base64url").toString() || "{}");
    const isGood = verify("sha256", message, this.keys.publicKey, Buffer.from(signature ?? "", "base64url"));
    if (!isGood || read.aud !== GATEWAY) throw new errors.InvalidRequest("the subject token is not taken");
    return read;
  }
}
