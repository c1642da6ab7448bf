//! The member `auth`: how the gateway authenticates with a server.

use std::time::SystemTime;

use http::header::AUTHORIZATION;
use url::Url;

use super::{
    about::Kind,
    faults::Faults,
    member::{Member, member, read_all},
    node::{Fault, Members, Node},
    proof::ClientProof,
    secrets::{HeaderValue, Secrets, Writer},
    tree::Tree,
    word::Word,
};
use crate::registry::{Auth, AuthKind, Error, OAuth2, StaticHeader, auth::check_count};

/// The labels of the list of headers, and of the name and value of each.
pub(crate) const HEADERS: &str = "Headers";
pub(crate) const HEADER: &str = "Header name";
pub(crate) const HEADER_VALUE: &str = "Header value";

/// The members of an OAuth 2.0 client.
pub(crate) static OAUTH2: &[Member<OAuth2>] = &[
    member!(OAuth2, grant, "Who authorizes"),
    member!(OAuth2, client_id, "Client ID"),
    proof("client_secret", "Client secret", |oauth, writer| {
        proven(oauth, ClientProof::Secret, writer)
    }),
    proof("private_key", "Private key", |oauth, writer| {
        proven(oauth, ClientProof::Key, writer)
    }),
    member!(OAuth2, key_id, "Key ID").hint(
        "The <code>kid</code> under which the provider knows the public key. Leave empty if it \
         knows one key alone.",
    ),
    member!(OAuth2, signing_algorithm, "Signing algorithm"),
    member!(OAuth2, authorization_url, "Authorization URL"),
    member!(OAuth2, token_url, "Token URL").reached(),
    member!(OAuth2, scopes, "OAuth scopes").hint(
        "Separated by commas, such as <code>repo, read:org</code>. Leave empty for those that the \
         server names; where nobody consents, for none.",
    ),
    // A text, as it was written: an issuer is compared by its characters.
    member!(OAuth2, issuer, "Issuer")
        .kind(Kind::Url)
        .reached()
        .hint(
            "The only authorization server that is accepted. Needed with a client secret or a \
             private key where no token URL is given.",
        ),
    member!(OAuth2, resource, "Resource").hint(
        "What the token is to be for. Empty: the server itself. <code>none</code>: it is not sent, \
         for providers that refuse it (Entra ID).",
    ),
    member!(OAuth2, token_auth, "Client authentication"),
    member!(OAuth2, audience, "Audience").hint(
        "The name of the service that the token is to be for, where the provider wants one besides \
         the resource.",
    ),
    member!(OAuth2, subject_audience, "Audience of callers' tokens").hint(
        "What callers' tokens must be for, such as this gateway's own client ID. Others are never \
         sent anywhere.",
    ),
    member!(OAuth2, subject_issuer, "Issuer of callers' tokens")
        .hint("Leave empty if it is the issuer that exchanges them."),
    member!(OAuth2, subject_token_type, "Type of callers' tokens"),
];

/// A member with what proves who the client is. It is read after the others: which one is kept
/// depends on them.
const fn proof(
    name: &'static str,
    label: &'static str,
    write: for<'t> fn(&'t OAuth2, &Writer) -> Tree<'t>,
) -> Member<OAuth2> {
    let secret = (Kind::Secret, true);
    Member::new(name, label, secret, |_, _, _| Ok(()), write)
}

/// The state of a proof; [`Tree::Null`] if there is none.
fn proven<'t>(oauth: &'t OAuth2, of: ClientProof, writer: &Writer) -> Tree<'t> {
    let (proof, set_at) = of.of(oauth);
    let proof = proof.map(writer.secret);
    proof.map(|proof| state(proof, set_at, writer)).into()
}

/// The header under which a caller's token is passed on.
pub(crate) static PASSTHROUGH: Member<Auth> = Member::<Auth>::new(
    "header",
    HEADER,
    (Kind::Code, false),
    |auth, at, _| {
        let passthrough = Auth::token_passthrough(Some(at.text()?));
        *auth = passthrough.map_err(|error| at.refused(error))?;
        Ok(())
    },
    |auth, _| match auth {
        Auth::TokenPassthrough(header) => header.as_str().into(),
        _ => Tree::Null,
    },
)
.hint("Under which name the server gets the token. Empty: Authorization.");

/// The label of an authentication method.
pub(crate) fn method(kind: AuthKind) -> &'static str {
    match kind {
        AuthKind::None => "No Auth",
        AuthKind::StaticHeaders => "Static Headers",
        AuthKind::OAuth2 => "OAuth 2.0",
        AuthKind::TokenPassthrough => "Token Passthrough",
    }
}

/// Reads the authentication with a server at `url`; a member of another type is refused.
pub(super) fn read(at: &Node<'_>, url: &Url, secrets: &dyn Secrets) -> Result<Auth, Faults<Fault>> {
    let members = at.table(format!("must be {} with a type", at.words().table))?;
    match members.require("type")?.word()? {
        AuthKind::None => {
            members.allow(["type"])?;
            Ok(Auth::None)
        }
        AuthKind::StaticHeaders => {
            members.allow(["type", "headers"])?;
            read_headers(&members.require("headers")?, url, secrets)
        }
        AuthKind::OAuth2 => read_oauth2(&members, url, secrets),
        AuthKind::TokenPassthrough => {
            members.allow(["type", PASSTHROUGH.name])?;
            let mut auth = Auth::TokenPassthrough(AUTHORIZATION);
            if let Some(at) = members.get(PASSTHROUGH.name) {
                (PASSTHROUGH.read)(&mut auth, &at, secrets)?;
            }
            Ok(auth)
        }
    }
}

fn read_headers(at: &Node<'_>, url: &Url, secrets: &dyn Secrets) -> Result<Auth, Faults<Fault>> {
    let forms = at.words().spelled("value");
    let forms: Vec<_> = forms
        .iter()
        .map(|value| format!("{{ name, {value} }}"))
        .collect();
    let form = forms.join(" or ");
    let items = at.items(format!("must be a list of {form}"))?;
    check_count(items.len()).map_err(|error| at.refused(error))?;
    let mut headers: Vec<StaticHeader> = Vec::with_capacity(items.len());
    let mut faults = Vec::new();
    for item in &items {
        let header = item
            .table(format!("must be {form}"))
            .and_then(|members| read_header(at, &members, url, secrets));
        match header {
            Ok(header) if headers.iter().any(|other| other.name() == header.name()) => {
                let reason = format!("{} is given twice", header.name());
                let error = Error::invalid("auth.headers", reason);
                faults.push(blamed(at, item).refused(error));
            }
            Ok(header) => headers.push(header),
            Err(fault) => faults.push(fault),
        }
    }
    Faults::unless(faults, Auth::StaticHeaders(headers))
}

fn read_header(
    list: &Node<'_>,
    members: &Members<'_>,
    url: &Url,
    secrets: &dyn Secrets,
) -> Result<StaticHeader, Fault> {
    members.allow(["name", "value"])?;
    let at = members.require("name")?;
    let name = at.text()?;
    let (value, set_at) = match secrets.header(members, name, url)? {
        HeaderValue::Kept(header) => return Ok(header),
        HeaderValue::Given(value, set_at) => (value, set_at),
    };
    let blame = |at: &Node<'_>, error| blamed(list, at).unusable_by(error);
    // With a value that any header can have, only the name can be wrong.
    StaticHeader::new(name, "x").map_err(|error| blame(&at, error))?;
    let header = StaticHeader::new(name, value);
    let at = members.get("value").unwrap_or(at);
    Ok(header
        .map_err(|error| blame(&at, error))?
        .with_set_at(set_at))
}

/// The value that a header's fault is reported for: the header itself, or the whole list, as the
/// text's [`Words`](super::Words) say.
fn blamed<'b>(list: &'b Node<'b>, item: &'b Node<'b>) -> &'b Node<'b> {
    match list.words().blames_items {
        true => item,
        false => list,
    }
}

fn read_oauth2(
    members: &Members<'_>,
    url: &Url,
    secrets: &dyn Secrets,
) -> Result<Auth, Faults<Fault>> {
    members.allow(
        ["type"]
            .into_iter()
            .chain(OAUTH2.iter().map(|member| member.name)),
    )?;
    let mut oauth = OAuth2::default();
    if let Some(faults) = Faults::of(read_all(OAUTH2, &mut oauth, members, secrets)) {
        return Err(faults);
    }
    for proof in ClientProof::ALL {
        let found = secrets.client_proof(members, proof, &oauth, url)?;
        proof.set(&mut oauth, found);
    }
    let auth = secrets.oauth2(oauth);
    Ok(auth.map_err(|error| members.refused(error))?)
}

/// Writes `auth`, with its secrets as `writer` represents them. A credential that cannot be opened
/// is written as not set.
pub(crate) fn write<'a>(auth: &'a Auth, writer: &Writer) -> Tree<'a> {
    let (auth, is_readable) = match auth {
        Auth::Unreadable(auth) => (&**auth, false),
        auth => (auth, true),
    };
    let tree = Tree::new().with("type", auth.kind().word());
    match auth {
        Auth::StaticHeaders(headers) => {
            let headers = headers.iter().map(|header| {
                let value = match is_readable {
                    true => (writer.secret)(header.value()),
                    false => false.into(),
                };
                let value = state(value, header.set_at(), writer);
                Tree::new()
                    .with("name", header.name().as_str())
                    .with("value", value)
            });
            tree.with("headers", headers.collect::<Tree<'_>>())
        }
        Auth::OAuth2(oauth) => {
            let mut tree = OAUTH2.iter().fold(tree, |tree, member| {
                tree.with(member.name, (member.write)(oauth, writer))
            });
            if !is_readable {
                // Nothing else of it can be unreadable, so there was one.
                let (of, set_at) = match oauth.private_key_set_at {
                    Some(at) => (ClientProof::Key, Some(at)),
                    None => (ClientProof::Secret, oauth.client_secret_set_at),
                };
                tree.set(of.member(), state(false.into(), set_at, writer));
            }
            tree
        }
        Auth::TokenPassthrough(_) => tree.with(PASSTHROUGH.name, (PASSTHROUGH.write)(auth, writer)),
        Auth::None | Auth::Unreadable(_) => tree,
    }
}

/// The state of a secret: whether a usable one is set, and when it was entered.
fn state<'a>(set: Tree<'a>, at: Option<SystemTime>, writer: &Writer) -> Tree<'a> {
    Tree::new()
        .with("set", set)
        .with("updated_at", at.map(writer.time))
}
