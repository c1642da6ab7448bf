//! Which tools of an entry's servers are offered, and which ask first: `allowed_tools` and
//! `require_approval`.

use std::borrow::Cow;

use crate::{
    catalog::Entry,
    json::{Object, array, string},
    name::short,
    offer::Offer,
    refusal::Refusal,
};

/// What an entry says of the tools of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolRules {
    /// Those that are offered; `None` for all.
    pub(crate) allowed: Option<ToolFilter>,
    pub(crate) approvals: Approvals,
}

/// A choice of tools: by name, and by whether they only read. Without either it is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolFilter {
    /// Names, each with its place in the request: a server's own, or else offered ones.
    names: Option<Vec<(String, String)>>,
    /// Tools that say that they change nothing, or those that do not say so.
    read_only: Option<bool>,
}

/// The tools whose calls wait for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Approvals {
    Always,
    Never,
    /// These do, and those do not. Of the rest, all do where it is said which do not.
    Some {
        always: Option<ToolFilter>,
        never: Option<ToolFilter>,
    },
}

impl ToolRules {
    /// The names of tools that are to be offered, each with its place in the request.
    pub(crate) fn allowed_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.allowed.iter().flat_map(ToolFilter::names)
    }

    /// The names of tools of which it is said whether they ask first, each with its place.
    pub(crate) fn approved_names(&self) -> impl Iterator<Item = (&str, &str)> {
        let filters = match &self.approvals {
            Approvals::Some { always, never } => [always.as_ref(), never.as_ref()],
            Approvals::Always | Approvals::Never => [None, None],
        };
        filters.into_iter().flatten().flat_map(ToolFilter::names)
    }

    pub(crate) fn allows(&self, tool: &Entry) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|allowed| allowed.fits(tool))
    }

    /// Returns `true` if calls of `tool` wait for the caller, whatever the server's record says.
    pub(crate) fn asks_first(&self, tool: &Entry) -> bool {
        match &self.approvals {
            Approvals::Always => true,
            Approvals::Never => false,
            Approvals::Some { always, never } => {
                let is =
                    |filter: &Option<ToolFilter>| filter.as_ref().is_some_and(|f| f.fits(tool));
                is(always) || never.is_some() && !is(never)
            }
        }
    }
}

impl ToolFilter {
    /// Reads the value of `allowed_tools`: a list of names, or a filter.
    pub(super) fn allowed(param: &str, value: &str, most: usize) -> Result<Self, Refusal> {
        if value.starts_with('{') {
            return Self::read(param, value, most);
        }
        Ok(Self {
            names: Some(names(param, value, most)?),
            read_only: None,
        })
    }

    fn read(param: &str, value: &str, most: usize) -> Result<Self, Refusal> {
        let mut filter = Self {
            names: None,
            read_only: None,
        };
        for (name, value) in members(param, value)?.iter() {
            let param = format!("{param}.{}", short(name));
            match (name, value) {
                ("tool_names" | "read_only", "null") => {}
                ("tool_names", _) => filter.names = Some(names(&param, value, most)?),
                ("read_only", "true") => filter.read_only = Some(true),
                ("read_only", "false") => filter.read_only = Some(false),
                ("read_only", _) => {
                    return Err(Refusal::invalid_option(&param, "must be a boolean"));
                }
                _ => {
                    let fault = "is not a member of a filter; those are tool_names and read_only";
                    return Err(Refusal::invalid_option(&param, fault));
                }
            }
        }
        Ok(filter)
    }

    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.names.iter().flatten();
        names.map(|(name, param)| (&**name, &**param))
    }

    fn fits(&self, tool: &Entry) -> bool {
        let offer = tool.offer();
        let is_named = |names: &Vec<(String, String)>| {
            let mut names = names.iter();
            names.any(|(name, _)| is_name(name, offer))
        };
        self.names.as_ref().is_none_or(is_named)
            && self
                .read_only
                .is_none_or(|wanted| wanted == tool.is_read_only())
    }
}

impl Approvals {
    /// Reads the value of `require_approval`.
    pub(super) fn read(param: &str, value: &str, most: usize) -> Result<Self, Refusal> {
        match value {
            "\"always\"" => return Ok(Self::Always),
            "\"never\"" => return Ok(Self::Never),
            _ => {}
        }
        let must_be = "must be \"always\", \"never\", or an object with either as a filter";
        let unknown = || Refusal::invalid_option(param, must_be);
        if !value.starts_with('{') {
            return Err(unknown());
        }
        let (mut always, mut never) = (None, None);
        for (name, value) in members(param, value)?.iter() {
            let param = format!("{param}.{}", short(name));
            match (name, value) {
                ("always" | "never", "null") => {}
                ("always", _) => always = Some(ToolFilter::read(&param, value, most)?),
                ("never", _) => never = Some(ToolFilter::read(&param, value, most)?),
                _ => {
                    let fault = "is not a form of approval; those are always and never";
                    return Err(Refusal::invalid_option(&param, fault));
                }
            }
        }
        match (&always, &never) {
            (None, None) => Err(unknown()),
            _ => Ok(Self::Some { always, never }),
        }
    }
}

/// Returns `true` if an entry may call a tool so: by its own name, or by its offered one.
pub(crate) fn is_name(name: &str, offer: &Offer) -> bool {
    name == offer.tool || name == offer.name
}

/// The text of the string `value`, which is at `param`.
pub(super) fn text_at<'a>(param: &str, value: &'a str) -> Result<Cow<'a, str>, Refusal> {
    string(value).ok_or_else(|| Refusal::invalid_option(param, "must be a string"))
}

/// The members of an object, each given once.
fn members<'a>(param: &str, value: &'a str) -> Result<Object<'a>, Refusal> {
    let must_be = |_| Refusal::invalid_option(param, "must be an object");
    let object = Object::parse(value).map_err(must_be)?;
    let doubled = object
        .doubled()
        .map(|name| format!("{param}.{}", short(name)));
    match doubled {
        Some(param) => Err(Refusal::invalid_option(&param, "is given twice")),
        None => Ok(object),
    }
}

/// Names of tools, each with its place.
fn names(param: &str, value: &str, most: usize) -> Result<Vec<(String, String)>, Refusal> {
    let fault = |fault: &str| Refusal::invalid_option(param, fault);
    let names = array(value, most + 1);
    let names = names.ok_or_else(|| fault("must be an array of names of tools"))?;
    if names.is_empty() {
        return Err(fault("must name at least one tool"));
    }
    if names.len() > most {
        return Err(fault(&format!("has more than {most} names")));
    }
    let named = names.into_iter().enumerate().map(|(place, name)| {
        let param = format!("{param}[{place}]");
        Ok((text_at(&param, name)?.into_owned(), param))
    });
    named.collect()
}
