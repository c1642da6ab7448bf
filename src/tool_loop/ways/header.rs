//! `x-mcp-servers: a,b` with `x-mcp-tools: a__x,b__y`, for clients that can set headers and nothing
//! else, and `x-mcp-resume: true`, which says of any request what `resume_tool_calls` does.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    names::{names, wanted},
    opt_in::OptIn,
};
use crate::{keyed::Keyed, refusal::Refusal};

const SERVERS: HeaderName = HeaderName::from_static("x-mcp-servers");
const TOOLS: HeaderName = HeaderName::from_static("x-mcp-tools");
const RESUME: HeaderName = HeaderName::from_static("x-mcp-resume");

/// The headers of a request that say what it asks for, taken off it.
///
/// They do not tell callers apart, as other headers of ours do: whoever goes on with a conversation
/// sends another one than whoever began it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptInHeaders {
    servers: Vec<HeaderValue>,
    tools: Vec<HeaderValue>,
    resume: Vec<HeaderValue>,
}

impl OptInHeaders {
    /// Takes them off a request. `names_servers` says whether the names of servers and tools are ours;
    /// else they are somebody else's headers, and stay.
    pub(crate) fn take(headers: &mut HeaderMap, names_servers: bool) -> Self {
        let mut take = |name: HeaderName| {
            let values: Vec<_> = headers.get_all(&name).iter().cloned().collect();
            // Most requests have none.
            if !values.is_empty() {
                headers.remove(&name);
            }
            values
        };
        let resume = take(RESUME);
        let [servers, tools] = match names_servers {
            true => [SERVERS, TOOLS].map(take),
            false => [Vec::new(), Vec::new()],
        };
        Self {
            servers,
            tools,
            resume,
        }
    }

    /// The name of one of them that asks for servers or tools; `None` if none does.
    pub(crate) fn given(&self) -> Option<&'static str> {
        match (self.servers.is_empty(), self.tools.is_empty()) {
            (false, _) => Some("x-mcp-servers"),
            (true, false) => Some("x-mcp-tools"),
            (true, true) => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.given().is_none() && self.resume.is_empty()
    }

    /// How they opt in; `None` if they do not.
    ///
    /// # Errors
    /// A header that is given twice, is no text or has no names; tools without servers.
    pub(super) fn opt_in(&self, most: usize) -> Result<Option<OptIn>, Refusal> {
        let tools = list(&self.tools, &TOOLS, most)?;
        let Some(servers) = list(&self.servers, &SERVERS, most)? else {
            let fault = "names tools, but no server: name theirs in x-mcp-servers";
            return match tools {
                Some(_) => Err(Refusal::invalid_option(TOOLS.as_str(), fault)),
                None => Ok(None),
            };
        };
        let servers = wanted(servers, SERVERS.as_str());
        let opt_in = OptIn::servers(SERVERS.as_str(), servers);
        Ok(Some(OptIn { tools, ..opt_in }))
    }

    /// Whether open calls are to be run, if it says so.
    ///
    /// # Errors
    /// The header is neither `true` nor `false`.
    pub(crate) fn resumes(&self) -> Result<Option<bool>, Refusal> {
        let name = &RESUME;
        match text(&self.resume, name)? {
            None => Ok(None),
            Some(said) if said.trim().eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(said) if said.trim().eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(Refusal::invalid_option(
                name.as_str(),
                "must be true or false",
            )),
        }
    }

    /// Adds what they say to the hash of a request.
    pub(super) fn add_to(&self, hash: &mut Keyed) {
        for values in [&self.servers, &self.tools, &self.resume] {
            for value in values {
                hash.add_optional(Some(value));
            }
            hash.add_optional(None::<&[u8]>);
        }
    }
}

/// The names in the header `name`.
fn list(
    values: &[HeaderValue],
    name: &HeaderName,
    most: usize,
) -> Result<Option<Vec<String>>, Refusal> {
    let list = text(values, name)?;
    list.map(|list| names(list, name.as_str(), most))
        .transpose()
}

/// The text of the header `name`, if it is given.
fn text<'a>(values: &'a [HeaderValue], name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let fault = |fault| Err(Refusal::invalid_option(name.as_str(), fault));
    match values {
        [] => Ok(None),
        [value] => match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => fault("must be text in UTF-8"),
        },
        _ => fault("is given twice"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(given: &[(&'static str, &str)], names_servers: bool) -> (OptInHeaders, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        let taken = OptInHeaders::take(&mut headers, names_servers);
        (taken, headers)
    }

    #[test]
    fn names_are_read_however_they_are_spaced() {
        let (taken, left) = taken(
            &[("x-mcp-servers", " a ,b,, a,"), ("x-mcp-tools", "a__x")],
            true,
        );
        assert!(left.is_empty());
        let opt_in = taken.opt_in(9).unwrap().unwrap();
        let names: Vec<_> = opt_in.servers.iter().map(|wanted| &*wanted.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(opt_in.tools.unwrap(), ["a__x"]);
    }

    #[test]
    fn every_fault_names_its_header() {
        let a = ("x-mcp-servers", "a");
        for (given, param) in [
            (vec![("x-mcp-servers", "")], "x-mcp-servers"),
            (vec![("x-mcp-servers", " , ")], "x-mcp-servers"),
            (vec![a, a], "x-mcp-servers"),
            (vec![("x-mcp-servers", "a,b,c")], "x-mcp-servers"),
            (vec![("x-mcp-tools", "a__x")], "x-mcp-tools"),
            (vec![a, ("x-mcp-tools", "")], "x-mcp-tools"),
        ] {
            let refusal = taken(&given, true).0.opt_in(2).unwrap_err();
            assert_eq!(refusal.param(), Some(param), "{given:?}");
        }
    }

    #[test]
    fn headers_of_somebody_else_stay() {
        let given = [("x-mcp-servers", "a"), ("x-mcp-resume", "true")];
        let (taken, left) = taken(&given, false);
        assert_eq!(taken.opt_in(9), Ok(None));
        assert_eq!((taken.given(), taken.resumes()), (None, Ok(Some(true))));
        assert_eq!(left.len(), 1);
    }
}
