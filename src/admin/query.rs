//! The query of a list of servers.

use url::form_urlencoded;

use super::{
    fault::{Code, Fault},
    standing::Status,
};
use crate::{
    name::ServerName,
    registry::{AuthKind, Filter, members::Word},
};

/// The longest page.
pub(super) const LONGEST: usize = 200;

/// The query of a list; a parameter without a value is as good as absent.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) filter: Filter,
    pub(super) status: Option<Status>,
    pub(super) limit: usize,
    pub(super) after: Option<ServerName>,
}

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, Fault> {
        let mut read = Self {
            filter: Filter::default(),
            status: None,
            limit: 50,
            after: None,
        };
        parameters(query, |name, value| read.parameter(name, value))?;
        Ok(read)
    }

    fn parameter(&mut self, name: &str, given: Option<&str>) -> Result<(), Fault> {
        match name {
            "project" => self.filter.project = given.map(str::to_owned),
            "q" => self.filter.text = given.map(str::to_owned),
            "status" => self.status(given)?,
            "auth" => self.filter.auth = given.map(kind).transpose()?,
            "limit" => self.limit = given.map_or(Ok(self.limit), limit)?,
            "cursor" => self.after = given.map(cursor).transpose()?,
            _ => return Err(fault(name, "is not a parameter of this list")),
        }
        Ok(())
    }

    fn status(&mut self, given: Option<&str>) -> Result<(), Fault> {
        match given {
            None => {}
            Some("active") => self.status = Some(Status::Active),
            Some("inactive") => self.status = Some(Status::Inactive),
            Some("draft") => self.filter.drafts = true,
            Some(_) => return Err(fault("status", "must be active, inactive or draft")),
        }
        Ok(())
    }
}

/// Reads each parameter of a query, which is there once; one without a value is as good as absent.
pub(super) fn parameters(
    query: &str,
    mut read: impl FnMut(&str, Option<&str>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut seen = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if seen.contains(&name) {
            return Err(fault(&name, "is given twice"));
        }
        read(&name, Some(&*value).filter(|value| !value.is_empty()))?;
        // Only known names get here: no more than there are of them.
        seen.push(name);
    }
    Ok(())
}

fn kind(value: &str) -> Result<AuthKind, Fault> {
    let kind = AuthKind::of_word(value);
    kind.ok_or_else(|| fault("auth", &AuthKind::expected().replace('"', "")))
}

pub(super) fn limit(value: &str) -> Result<usize, Fault> {
    let limit = value.parse().ok();
    let limit = limit.filter(|limit| (1..=LONGEST).contains(limit));
    limit.ok_or_else(|| fault("limit", &format!("must be a number from 1 to {LONGEST}")))
}

fn cursor(value: &str) -> Result<ServerName, Fault> {
    let cursor = value.parse();
    cursor.map_err(|_| fault("cursor", "must be the next of the page before"))
}

pub(super) fn fault(name: &str, reason: &str) -> Fault {
    let name: String = name.chars().take(80).collect();
    Fault::of(
        Code::InvalidRequest,
        &name.escape_debug().to_string(),
        reason,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_form_is_the_first_page_of_all() {
        let query = Query::parse("project=&status=&auth=&q=&limit=&cursor=").unwrap();
        assert_eq!(query.limit, 50);
        assert!(query.after.is_none() && query.status.is_none());
        assert!(query.filter.project.is_none() && query.filter.text.is_none());
        assert!(query.filter.auth.is_none() && !query.filter.drafts);
    }

    #[test]
    fn every_parameter_is_read() {
        let query = "project=web&status=inactive&auth=oauth2&q=wi%20ki&limit=7&cursor=a-b";
        let query = Query::parse(query).unwrap();
        assert_eq!(query.filter.project.as_deref(), Some("web"));
        assert_eq!(query.filter.text.as_deref(), Some("wi ki"));
        assert_eq!(query.filter.auth, Some(AuthKind::OAuth2));
        assert_eq!(query.status, Some(Status::Inactive));
        assert_eq!(query.limit, 7);
        assert_eq!(query.after.unwrap().as_str(), "a-b");
        assert!(Query::parse("status=draft").unwrap().filter.drafts);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=x", "limit"),
            ("cursor=A%20B", "cursor"),
            ("status=up", "status"),
            ("auth=basic", "auth"),
            ("q=a&q=b", "q"),
            ("Status=active", "Status"),
            ("x=%ff", "x"),
        ] {
            let fault = Query::parse(query).unwrap_err();
            assert_eq!(fault.param(), Some(name), "{query}");
        }
    }
}
