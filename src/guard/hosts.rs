//! A list of hosts that URLs in arguments may have.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use super::{call::GuardedCall, decision::Decision, error::Error, tool_guard::ToolGuard};
use crate::{name::short, registry::BoxFuture};

/// Schemes for which a URL is read as browsers and most HTTP clients do, backslashes as slashes and all
/// (URL Standard, "special scheme").
const SPECIAL: [&str; 6] = ["https", "http", "wss", "ws", "ftp", "file"];

/// Ends of the names of members whose values are addresses, also without a scheme; in the singular.
const NAMES: [&str; 8] = [
    "url", "uri", "href", "link", "host", "hostname", "domain", "endpoint",
];

/// Characters that may end a host in a text.
const ENDS_IN_TEXT: &str = "\"'<>()[]{},;!|*`";

/// Allows only URLs of listed hosts in arguments.
///
/// A host that is listed without a port is allowed with every port; one with a port only with that, which
/// a URL may also have by its scheme.
///
/// Every URL counts: at any depth of the arguments, whole or amid a text, in the name of a member, of
/// any scheme. In members whose names end with `url`, `uri`, `href`, `link`, `host`, `domain` or
/// `endpoint`, in the plural or numbered, and in all that these have in them, each word counts that is no
/// path: as an address without a scheme.
///
/// Programs differ in how they read an odd URL, so whatever is not plainly `scheme://host`, with a port
/// or without, is denied: user names, backslashes, percent signs or other letters than ASCII in front of
/// the path, a dot behind the host, an address spelt otherwise than usual, tabs and line breaks, `//host`
/// for a host that is not listed, an `@` behind a host from which no slash, and amid a text no blank,
/// keeps it apart. Write names in other scripts in their ASCII form (`xn--…`). Amid a text `https:host`
/// is one where the host has a dot, other letters than ASCII, a slash behind it or many digits; so
/// `http:2.4` is denied, and `{http:h}` is text.
///
/// A text with percent signs is read a second time with one layer of them taken off, which has every
/// `%3A` for a colon: a URL in the query of another counts. Deeper layers (`%253A`) are not read.
///
/// It reads what stands in the arguments. It does not know what a server makes of them: a name that leads
/// elsewhere, a redirect, a text that is encoded. Results are not looked at.
///
/// ```
/// use mcp_layer::guard::{GuardRule, Hosts};
///
/// let hosts = Hosts::new(["api.example.com", "*.example.org", "localhost:3000"])?;
/// let rule = GuardRule::new("hosts", hosts).with_tools(["fetch__*"]);
/// # Ok::<(), mcp_layer::guard::InvalidHost>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hosts(Vec<Allowed>);

#[derive(Clone, Debug)]
struct Allowed {
    host: String,
    /// Hosts below it are meant, and not itself.
    is_below: bool,
    port: Option<u16>,
}

/// The error of a host that cannot be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHost {
    host: String,
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        write!(
            f,
            "{host:?} is not a host, such as api.example.com, *.example.com or 127.0.0.1:8080"
        )
    }
}

impl std::error::Error for InvalidHost {}

/// The reason why a URL is denied, as the model is told.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// Its host is not listed, or only with other ports: then it has its own.
    Host(String),
    Odd,
}

impl Hosts {
    /// Creates a guard that allows these hosts: a name or an address, with a port or without; `*.` in front
    /// of a name stands for all names below it. Of none, it allows no URL.
    ///
    /// # Errors
    /// One of them is no host.
    pub fn new<H: AsRef<str>>(hosts: impl IntoIterator<Item = H>) -> Result<Self, InvalidHost> {
        let allowed = hosts.into_iter().map(|host| {
            let host = host.as_ref();
            Allowed::parse(host).ok_or_else(|| InvalidHost { host: short(host) })
        });
        allowed.collect::<Result<_, _>>().map(Self)
    }

    /// The first URL in this value that is denied.
    fn refused(&self, value: &Value, is_address: bool) -> Option<Refused> {
        match value {
            Value::String(text) => self.refused_in(text, is_address),
            Value::Array(values) => values.iter().find_map(|v| self.refused(v, is_address)),
            Value::Object(members) => members.iter().find_map(|(name, value)| {
                let named = self.refused_in(name, false);
                named.or_else(|| self.refused(value, is_address || names_address(name)))
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }

    fn refused_in(&self, text: &str, is_address: bool) -> Option<Refused> {
        // As the URL Standard begins, and what programs trim besides.
        let text = text.trim_matches(|c: char| c <= ' ' || c.is_whitespace() || c == '\u{feff}');
        if is_odd(text) {
            return Some(Refused::Odd);
        }
        let refused = self.refused_url(text, true);
        if let Some(refused) = refused.or_else(|| self.refused_encoded(text)) {
            return Some(refused);
        }
        match is_address {
            true => text.split_whitespace().find_map(|w| self.refused_word(w)),
            false => {
                let behind = text.strip_prefix("//")?;
                // A comment.
                let is_text = !behind.trim_start_matches('/').starts_with(is_of_word);
                match is_text {
                    true => None,
                    false => self.judge("https", behind, true).err(),
                }
            }
        }
    }

    /// The first URL with a scheme and `://` that is denied; one that begins a `whole` text is judged as such.
    fn refused_url(&self, text: &str, whole: bool) -> Option<Refused> {
        text.match_indices("://").find_map(|(colon, slashes)| {
            let scheme = scheme_before(&text[..colon])?;
            let behind = &text[colon + slashes.len()..];
            let is_whole = whole && scheme.len() == colon;
            self.judge(scheme, behind, is_whole).err()
        })
    }

    /// The first URL that is denied behind one layer of percent signs, such as one in the query of another.
    fn refused_encoded(&self, text: &str) -> Option<Refused> {
        if !text.contains('%') {
            return None;
        }
        // One that is not encoded ends a value of a query, as a blank ends a word of a text.
        let text = text.replace('&', " ");
        let text = percent_decode_str(&text).decode_utf8_lossy();
        match is_odd_amid(&text, true) {
            true => Some(Refused::Odd),
            false => self.refused_url(&text, false),
        }
    }

    /// Judges a word where an address may do without a scheme; those with one are judged already.
    fn refused_word(&self, word: &str) -> Option<Refused> {
        if is_odd(word) {
            return Some(Refused::Odd);
        }
        let is_path = matches!(word, "." | "..")
            || ["/", "./", "../", "#", "?"]
                .iter()
                .any(|path| word.starts_with(path));
        match word.strip_prefix("//") {
            Some(behind) => self.judge("https", behind, true).err(),
            None if is_path || has_scheme(word) => None,
            None => self.judge("https", word, true).err(),
        }
    }

    /// Judges a URL by what stands behind its slashes. One that `is_whole` begins its text, and may be
    /// read to its end by whoever gets it.
    fn judge(&self, scheme: &str, behind: &str, is_whole: bool) -> Result<(), Refused> {
        let (host, port, rest) = split(behind).ok_or(Refused::Odd)?;
        let ends = match rest.chars().next() {
            None | Some('/' | '?' | '#' | ' ') => true,
            Some(end) => !is_whole && (end.is_whitespace() || ENDS_IN_TEXT.contains(end)),
        };
        // All that is in front of an `@` is a user's name, for whoever reads on to it.
        let authority_ends: &[char] = match is_whole {
            true => &['/', '?', '#'],
            false => &['/', '?', '#', ' ', '\t', '\r', '\n'],
        };
        let authority = rest.split(authority_ends).next();
        let has_user = authority.is_some_and(|authority| authority.contains('@'));
        // The end of a sentence.
        let host = match !is_whole && port.is_none() && !rest.starts_with(['/', '?', '#']) {
            true => host.strip_suffix('.').unwrap_or(host),
            false => host,
        };
        let host = host.to_ascii_lowercase();
        // Whatever is read in another way than it stands is odd.
        let read = Url::parse(&format!("https://{host}/")).ok();
        let is_name = !host.is_empty() && !host.ends_with('.');
        if !ends || has_user || !is_name || read.as_ref().and_then(Url::host_str) != Some(&*host) {
            return Err(Refused::Odd);
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or(match &*scheme {
            "https" | "wss" => Some(443),
            "http" | "ws" => Some(80),
            "ftp" => Some(21),
            _ => None,
        });
        let mut of_host = self.0.iter().filter(|allowed| allowed.is(&host)).peekable();
        let is_listed = of_host.peek().is_some();
        match (of_host.any(|allowed| allowed.has(port)), port) {
            (true, _) => Ok(()),
            (false, Some(port)) if is_listed => Err(Refused::Host(format!("{host}:{port}"))),
            (false, _) => Err(Refused::Host(host)),
        }
    }
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let (host, port, rest) = split(name)?;
        let url = Url::parse(&format!("https://{name}/")).ok();
        // A name in another script has one ASCII form.
        let (host, rest) = match (&url, host.is_ascii() && rest.is_empty()) {
            (Some(url), false)
                if name
                    .chars()
                    .all(|c| c.is_alphanumeric() || ".-".contains(c)) =>
            {
                (url.host_str()?.to_owned(), "")
            }
            _ => (host.to_ascii_lowercase(), rest),
        };
        let is_host = rest.is_empty()
            && !host.ends_with('.')
            && url.as_ref().and_then(Url::host_str) == Some(&*host);
        is_host.then_some(Self {
            host,
            is_below,
            port,
        })
    }

    fn is(&self, host: &str) -> bool {
        match self.is_below {
            false => host == self.host,
            true => host
                .strip_suffix(&*self.host)
                .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        }
    }

    fn has(&self, port: Option<u16>) -> bool {
        self.port.is_none() || self.port == port
    }
}

/// Splits host and port off what stands behind the slashes of a URL.
fn split(behind: &str) -> Option<(&str, Option<u16>, &str)> {
    let end = match behind.starts_with('[') {
        true => behind.find(']')? + 1,
        false => {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            behind.find(|c| !is_part(c)).unwrap_or(behind.len())
        }
    };
    let (host, rest) = behind.split_at(end);
    let Some(digits) = rest.strip_prefix(':') else {
        return Some((host, None, rest));
    };
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
    Some((host, Some(digits.parse().ok()?), rest))
}

/// The scheme that this text ends with.
fn scheme_before(text: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let begin = text.rfind(|c| !is_part(c)).map_or(0, |at| {
        at + text[at..].chars().next().map_or(1, char::len_utf8)
    });
    let scheme = &text[begin..];
    (!scheme.is_empty()).then_some(scheme)
}

fn is_of_word(c: char) -> bool {
    !c.is_whitespace()
}

/// Returns `true` for a text that begins with a scheme and `://`.
fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme_before(scheme) == Some(scheme))
}

/// Returns `true` for a text that only some programs read as a URL: `http:host`, `https:\\host`,
/// `\\host`, `///host`, `/⇥/host`, `ht⇥tps://host`, `https%3A//host`.
fn is_odd(text: &str) -> bool {
    let slash = |c: char| matches!(c, '/' | '\\');
    if text.starts_with("\\\\") || text.starts_with("/\\") || text.starts_with("\\/") {
        return true;
    }
    // As the URL Standard reads it, however many breaks there are.
    let unbroken = || text.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n'));
    let is_host = |c: char| !slash(c) && is_of_word(c);
    let hosts_behind = unbroken().take_while(|c| slash(*c)).take(2).count() == 2
        && unbroken().find(|c| !slash(*c)).is_some_and(is_host);
    let is_host_plain = text
        .strip_prefix("//")
        .is_some_and(|t| t.starts_with(is_host));
    if hosts_behind && !is_host_plain {
        return true;
    }
    let begin: String = text.chars().take(32).collect();
    let without: String = unbroken().take(32).collect();
    let special = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let scheme = SPECIAL.iter().find(|scheme| lower.starts_with(**scheme))?;
        Some(lower[scheme.len()..].to_owned())
    };
    let is_plain = |behind: &str| {
        behind
            .strip_prefix("://")
            .is_some_and(|behind| !behind.starts_with(slash))
    };
    let begins_oddly = match special(&without) {
        Some(behind) if behind.starts_with(':') => {
            let is_text = behind.len() == 1 || behind[1..].starts_with(' ');
            let is_same = special(&begin).is_some_and(|begin| is_plain(&begin));
            !is_text && !is_same
        }
        Some(behind) => behind.starts_with("%3a"),
        None => false,
    };
    begins_oddly || is_odd_amid(text, false)
}

/// Returns `true` for a text amid which something stands that only some programs read as a URL:
/// `https:host`, in which browsers do without slashes, `http:/host`, `https:\\host`.
///
/// One pass from the end, so that a text full of schemes is read once.
fn is_odd_amid(text: &str, is_decoded: bool) -> bool {
    let slash = |c: char| matches!(c, '/' | '\\');
    // What is behind a place, before the next blank: a part that only a host has, and a user's name.
    let (mut has_host, mut has_user) = (false, false);
    text.char_indices().rev().any(|(at, c)| {
        let behind = &text[at + c.len_utf8()..];
        let next = behind.chars().next();
        if c == ':' {
            let scheme = scheme_before(&text[..at]).unwrap_or_default();
            // A `+` is a blank in a query.
            let scheme = scheme.rsplit('+').next().unwrap_or_default();
            // What JSON within JSON may have made of slashes.
            let is_one = behind.starts_with('/') && !behind.starts_with("//");
            let is_slashes = behind.starts_with('\\') || is_one;
            let rest = behind.trim_start_matches(slash);
            let is_text = is_one && rest.starts_with(char::is_whitespace);
            // Before it is decoded, a percent sign may stand for a slash.
            let begins = next.is_some_and(|c| match c {
                '[' | '@' | '_' => true,
                '%' => is_decoded,
                c => c.is_alphanumeric() || !c.is_ascii() && !c.is_whitespace(),
            });
            // A file has no host.
            let is_bare = begins
                && !scheme.eq_ignore_ascii_case("file")
                && (has_host || has_user || next == Some('[') || begins_with_number(behind));
            let is_read = is_bare || is_slashes && !is_text && !rest.is_empty();
            return is_read && is_special(scheme);
        }
        match c {
            '/' => (has_host, has_user) = (true, false),
            '?' | '#' => (has_host, has_user) = (false, false),
            // Not the one at the end of a sentence.
            '.' => has_host |= next.is_some_and(|c| c.is_alphanumeric() || "-_%".contains(c)),
            '%' => has_host = true,
            '@' => has_user = true,
            c if c.is_whitespace() => (has_host, has_user) = (false, false),
            c if !c.is_ascii() => has_host = true,
            c if c == '\\' || ENDS_IN_TEXT.contains(c) => has_host = false,
            _ => {}
        }
        false
    })
}

/// Returns `true` for a number that is an address rather than a port, such as `2130706433`.
fn begins_with_number(text: &str) -> bool {
    const LONGER_THAN_PORTS: usize = 6;
    let is_digit = |c: &char| c.is_ascii_hexdigit() || matches!(c, 'x' | 'X');
    let digits = text.chars().take(LONGER_THAN_PORTS).take_while(is_digit);
    text.starts_with(|c: char| c.is_ascii_digit()) && digits.count() == LONGER_THAN_PORTS
}

fn is_special(scheme: &str) -> bool {
    SPECIAL.iter().any(|s| scheme.eq_ignore_ascii_case(s))
}

fn names_address(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
    let letters = letters.to_ascii_lowercase();
    let letters = letters.strip_suffix('s').unwrap_or(&letters);
    NAMES.iter().any(|end| letters.ends_with(end)) && !letters.ends_with("curl")
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => {
                let host = short(host);
                write!(
                    f,
                    "a URL has the host {host:?}, which is not one that is allowed"
                )
            }
            Self::Odd => f.write_str(
                "a URL is not written plainly, as https://host/path; write it so, or leave it out",
            ),
        }
    }
}

impl ToolGuard for Hosts {
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        Box::pin(async {
            let arguments: Value =
                serde_json::from_str(call.arguments.get()).map_err(Error::new)?;
            Ok(match self.refused(&arguments, false) {
                Some(refused) => Decision::Deny(refused.to_string()),
                None => Decision::Allow,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::new([
            "ok.example",
            "*.below.example",
            "ports.example:8443",
            "127.0.0.1",
            "[::1]:80",
            "bücher.example",
        ])
        .unwrap()
    }

    fn host(name: &str) -> Option<Refused> {
        Some(Refused::Host(name.to_owned()))
    }

    #[test]
    fn only_listed_hosts_pass_wherever_a_url_stands() {
        let hosts = hosts();
        for arguments in [
            json!({}),
            json!({"url": "https://ok.example"}),
            json!({"url": "HTTPS://OK.example:8080/a?b=c#d"}),
            json!({"url": "ok.example/path", "urls": ["/path", "./a", "#top", "?q", ""]}),
            json!({"text": "See https://ok.example, (http://a.below.example) or wss://ok.example."}),
            json!({"a": [{"b": "https://xn--bcher-kva.example/"}]}),
            json!({"url": "https://ports.example:8443/", "ip": "http://127.0.0.1:1/"}),
            json!({"url": "http://[::1]/", "n": 5, "x": null}),
            // Text that only looks like one.
            json!({"text": "http: the protocol, C:\\dir\\file, std::vector, 12:30, a//b, // note"}),
            json!({"path": "C:\\\\share", "regex": "key:\\\\d+", "text": "file: report.pdf"}),
            json!({"curl": "curl -s", "curls": ["evil"], "city": "evil.example"}),
            json!({"urls": "https://ok.example/?q=1 ok.example:8080/a /path", "x": "// a note"}),
            json!({"url": "ok.example/?next=https://ok.example", "link": {"href": "ok.example"}}),
            json!({"text": "/// A note. [a](https://ok.example), a@ok.example; http:/ is none"}),
            json!({"text": "{\"url\":\"https://ok.example/\",\"mail\":\"a@ok.example\"}"}),
            json!({"url": "https://ok.example/?next=https%3A%2F%2Fok.example%2Fa&x=http%3A//ok.example"}),
            json!({"text": "50%3A, http%3A the protocol, {\"http\":\"x\"}, file:report.pdf"}),
            json!({"text": "see [a](https://ok.example/?u=https%3A%2F%2Fok.example)"}),
            json!({"text": "see https://ok.example/?u=https%3A%2F%2Fok.example."}),
            json!({"text": "a https://ok.example/?u=https%3A%2F%2Fok.example, b; http%3A%2F%2Fok.example; c"}),
            json!({"url": "https://ok.example/?u=https%3A%2F%2Fok.example&x=1%20%E9"}),
            json!({"url": "https://ok.example/?u=https%3A%2F%2Fok.example&mail=a%40ok.example"}),
            json!({"url": "https://ok.example/?u=https:%2F%2Fok.example/&q=%22https%3A//ok.example%22"}),
            json!({"code": "const {http:h,https:s}=x", "ws": "{ws:true}, {http:f(\"a.b\")}"}),
            json!({"text": "ports http:80, https:443; or http:x. As https:y?", "i": "registry/http:2"}),
        ] {
            assert_eq!(hosts.refused(&arguments, false), None, "{arguments}");
        }
        for (arguments, name) in [
            (json!({"url": "https://evil.example/"}), "evil.example"),
            (json!({"text": "see https://evil.example."}), "evil.example"),
            (
                json!({"a": [[{"b": {"c": "https://evil.example"}}]]}),
                "evil.example",
            ),
            (json!({"https://evil.example": 1}), "evil.example"),
            (
                json!({"q": "https://ok.example/?next=https://evil.example"}),
                "evil.example",
            ),
            (
                json!({"json": "{\"u\":\"https://evil.example/\"}"}),
                "evil.example",
            ),
            (
                json!({"url": "https://ok.example.evil.example/"}),
                "ok.example.evil.example",
            ),
            (json!({"url": "https://evilok.example/"}), "evilok.example"),
            (json!({"url": "https://below.example/"}), "below.example"),
            (
                json!({"url": "https://evilbelow.example/"}),
                "evilbelow.example",
            ),
            (
                json!({"url": "https://ports.example/"}),
                "ports.example:443",
            ),
            (
                json!({"url": "https://ports.example:8444/"}),
                "ports.example:8444",
            ),
            (json!({"url": "http://[::1]:81/"}), "[::1]:81"),
            (json!({"x": "//evil.example/a"}), "evil.example"),
            (json!({"targetUrl": "evil.example/a"}), "evil.example"),
            (
                json!({"hosts": ["ok.example", "evil.example:80"]}),
                "evil.example",
            ),
            (json!({"x": "gopher://evil.example:70/"}), "evil.example"),
            (json!({"x": "s3://bucket/key"}), "bucket"),
            (
                json!({"x": "http://169.254.169.254/latest"}),
                "169.254.169.254",
            ),
            (json!({"x": " \u{1}https://evil.example"}), "evil.example"),
            // An allowed one beside it.
            (
                json!({"url": "evil.example/?x=https://ok.example"}),
                "evil.example",
            ),
            (json!({"url": "evil.example/a b"}), "evil.example"),
            (
                json!({"hosts": "https://ok.example evil.example"}),
                "evil.example",
            ),
            (json!({"urls": "/a //evil.example"}), "evil.example"),
            (json!({"url": {"href2": "evil.example"}}), "evil.example"),
            (json!({"url": {"value": ["evil.example"]}}), "evil.example"),
            (json!({"links": ["evil.example"]}), "evil.example"),
            (
                json!({"url": "https://ok.example/?next=https%3A%2F%2Fevil.example%2Fa"}),
                "evil.example",
            ),
            (
                json!({"text": "get https%3a//evil.example now"}),
                "evil.example",
            ),
            (
                json!({"url": "https://ok.example/?next=https:%2F%2Fevil.example"}),
                "evil.example",
            ),
            (
                json!({"url": "https://ok.example/?q=%20https%3A%2F%2Fevil.example"}),
                "evil.example",
            ),
            (
                json!({"url": "https://ok.example/?q=%22https%3A%2F%2Fevil.example"}),
                "evil.example",
            ),
            (
                json!({"url": "https://ok.example/?q=a%0Ahttps%3A%2F%2Fevil.example"}),
                "evil.example",
            ),
            (
                json!({"x": "go %68ttps%3A%2F%2Fevil.example"}),
                "evil.example",
            ),
            (json!({"x": "\u{feff}//evil.example"}), "evil.example"),
            (json!({"domain": ".evil.example"}), ".evil.example"),
        ] {
            assert_eq!(hosts.refused(&arguments, false), host(name), "{arguments}");
        }
    }

    #[test]
    fn what_programs_read_in_different_ways_is_denied() {
        for text in [
            "https://ok.example@evil.example/",
            "https://ok.example:pass@evil.example/",
            "https://evil.example\\@ok.example/",
            "https://ok.example\\.evil.example/",
            "https:\\\\evil.example/",
            "https:\\/\\/evil.example",
            "text with https:\\/\\/evil.example in it",
            "https:/evil.example",
            "https:evil.example",
            "https:///evil.example",
            "http:/\\evil.example",
            "\\\\evil.example\\share",
            "/\\evil.example",
            "ht\ntps://evil.example/",
            "https\t://evil.example/",
            "https://ok.example\n.evil.example/",
            "https://ok.ex\tample/",
            "https://ok.example./",
            "https://ok%2eexample/",
            "https://ok.example%2f.evil.example/",
            "https%3A%2F%2Fevil.example",
            "https://b\u{fc}cher.example/",
            "https://ok\u{3002}example/",
            "https://\u{ff4f}k.example/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://127.1/",
            "https://[::ffff:127.0.0.1]:80x/",
            "https://ok.example:99999/",
            "https://ok.example:/",
            "https://",
            "file:///etc/passwd",
            "file:/etc/passwd",
            "https://ok.example)evil.example/",
            &format!("https:{}//evil.example", "\t\n".repeat(13)),
            "curl https://ok.example,@evil.example/",
            "curl https://ok.example;@evil.example/",
            "curl https://ok.example:443,@evil.example/",
            "curl https://ok.example\u{a0}@evil.example/",
            "https://ok.example @evil.example/",
            r#"{"cmd":"curl https://ok.example,@evil.example/"}"#,
            "curl https:/evil.example/",
            "curl https:evil.example/",
            "curl https:[::1]/",
            "open https:évil.example/",
            "open https:%65vil.example/",
            "open https:@evil.example/",
            "open https:_evil.example/",
            "open https:\u{ad}evil.example",
            "open https:a:b@evil",
            "open https:localhost/",
            "get http:2130706433",
            "get http:0x7f000001",
            "image http:2.4",
            "go https%3Aevil.example",
            "go+https%3Aevil.example",
            "https://ok.example/?u=https%3A%2F%2Fok.example%26.evil.example",
            "curl https%3A/evil.example/",
            "curl https%3A%2F%2Fok.example%40evil.example/",
            "curl https%3A%5C%5Cevil.example/",
            r#"{"url":"https:/evil.example"}"#,
            "///evil.example/a",
            "/\t/evil.example",
            "//\nevil.example",
            "//@evil.example/",
            "//ok.example @evil.example/",
            &format!("{}evil.example", "/".repeat(40)),
        ] {
            let refused = hosts().refused(&json!({"x": text}), false);
            assert_eq!(refused, Some(Refused::Odd), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_around_it_hides_a_url(
            before in "(ok\\.example|https?|:|/|\\\\|@|%3A|\\.|-|é| |\n|\t|\\[|\"){0,8}",
            behind in "(ok\\.example|:|/|\\\\|@|%|#|\\?|é| |\n|\\]|\"){0,8}",
            is_address in any::<bool>(),
        ) {
            let text = format!("{before} https://evil.example/{behind}");
            prop_assert!(hosts().refused_in(&text, is_address).is_some(), "{text:?}");
        }

        #[test]
        fn a_listed_host_passes_however_it_is_encoded(
            before in "(see |\\(|q=| \\[|\"|%20|%22|%0A|%28){0,4}",
            slashes in "(%3A//|%3a%2F%2f|%3A/%2F|:%2F%2F|:%2f/)",
            behind in "([.,;]? |\\)|\"|%20|%22|&x=1|%2Fpath|\\?q=1)?",
        ) {
            let text = format!("a {before} https{slashes}ok.example{behind}");
            prop_assert_eq!(hosts().refused_in(&text, false), None, "{:?}", text);
            let text = format!("a {before} https{slashes}evil.example{behind}");
            prop_assert!(hosts().refused_in(&text, false).is_some(), "{text:?}");
        }

        #[test]
        fn no_text_is_too_odd(text in "(https|file|:|//|/|\\\\|@|%3a|\\.|\\[|\\]|é|\n|\t|9|a){0,12}") {
            hosts().refused_in(&text, true);
        }
    }

    #[test]
    fn a_list_has_hosts_and_nothing_else() {
        for text in [
            "",
            "*",
            "*.",
            "https://ok.example",
            "ok.example/path",
            "u@ok.example",
            "ok.example:x",
            "a b",
            "ok.example.",
            "127.1",
        ] {
            assert!(Hosts::new([text]).is_err(), "{text:?}");
        }
    }
}
