//! Secrets in arguments and results, by their form.

use serde_json::value::RawValue;

use super::{
    call::{GuardedCall, GuardedResult},
    decision::{Decision, Verdict},
    error::Error,
    tool_guard::ToolGuard,
};
use crate::{apart, registry::BoxFuture, trace::without_secrets};

/// The longest text that is searched on a serving thread, which takes well below a millisecond.
const SEARCHED_HERE: usize = 32 << 10;

const DENIED_ARGUMENTS: &str = "the arguments have a secret in them";
const DENIED_RESULT: &str = "it has a secret in it";

/// Denies or masks what has the form of a secret: keys and tokens of well-known issuers (`ghp_…`,
/// `sk-…`, `AKIA…`), JSON Web Tokens, private keys in PEM, credentials behind `Bearer` and `Basic`, and
/// passwords in URLs.
///
/// Each string of the arguments is searched, escapes read, and JSON within JSON; of a result the text
/// that the model would get. A masked secret is `[redacted]`.
///
/// It is a net with holes: a password looks like any other word. Records are masked by the names of
/// members as well ([`Payloads::Redacted`](crate::trace::Payloads::Redacted)), which a guard that
/// changes what tools get must not do: a `page_token` is no secret.
#[derive(Clone, Copy, Debug)]
pub struct Secrets {
    masks: bool,
}

impl Secrets {
    /// A guard that denies calls and results with a secret.
    pub fn deny() -> Self {
        Self { masks: false }
    }

    /// A guard that masks secrets.
    pub fn mask() -> Self {
        Self { masks: true }
    }
}

impl ToolGuard for Secrets {
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        Box::pin(async {
            Ok(match (masked(call.arguments.get()).await?, self.masks) {
                (None, _) => Decision::Allow,
                (Some(_), false) => Decision::Deny(DENIED_ARGUMENTS.to_owned()),
                (Some(masked), true) => {
                    Decision::Rewrite(RawValue::from_string(masked).map_err(Error::new)?)
                }
            })
        })
    }

    fn after<'a>(
        &'a self,
        _: &'a GuardedCall<'a>,
        result: &'a GuardedResult<'a>,
    ) -> BoxFuture<'a, Result<Verdict, Error>> {
        Box::pin(async {
            Ok(match (masked(result.text).await?, self.masks) {
                (None, _) => Verdict::Allow,
                (Some(_), false) => Verdict::Deny(DENIED_RESULT.to_owned()),
                (Some(masked), true) => Verdict::Rewrite(masked),
            })
        })
    }
}

/// The text without secrets; `None` if it has none.
async fn masked(text: &str) -> Result<Option<String>, Error> {
    if text.len() <= SEARCHED_HERE {
        return Ok(without_secrets(text));
    }
    let text = text.to_owned();
    let searched = apart::run(move || without_secrets(&text)).await;
    searched.ok_or_else(|| Error::new("there was no time to search the text"))
}
