//! Scans objects and lists value by value: several levels in one pass, of which nothing is kept but
//! what is asked for.

use std::{borrow::Cow, collections::HashSet};

use super::{
    scan::{NoJson, Scan},
    text::string,
};

impl<'a> Scan<'a> {
    /// Scans an object; `member` is told the name of each member, and scans its value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), NoJson>,
    ) -> Result<(), NoJson> {
        self.eat(b'{')?;
        let mut is_over = self.eats(b'}');
        while !is_over {
            let name = match self.string()? {
                (name, true) => name[1..name.len() - 1].into(),
                (name, false) => string(name).ok_or(NoJson)?,
            };
            self.eat(b':')?;
            member(self, name)?;
            is_over = !self.eats(b',');
            if is_over {
                self.eat(b'}')?;
            }
        }
        Ok(())
    }

    /// Scans a list; `element` scans each of its values.
    pub(crate) fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), NoJson>,
    ) -> Result<(), NoJson> {
        self.eat(b'[')?;
        let mut is_over = self.eats(b']');
        while !is_over {
            element(self)?;
            is_over = !self.eats(b',');
            if is_over {
                self.eat(b']')?;
            }
        }
        Ok(())
    }
}

/// The first name that an object in the JSON text `json` gives twice, at any depth. Recursive: the depth
/// is the caller's to limit.
pub(crate) fn doubled(json: &str) -> Option<Cow<'_, str>> {
    let mut found = None;
    // What is not JSON has no names.
    find_doubled(&mut Scan::new(json), &mut found).ok()?;
    found
}

fn find_doubled<'a>(scan: &mut Scan<'a>, found: &mut Option<Cow<'a, str>>) -> Result<(), NoJson> {
    match scan.peek() {
        Some(b'{') => {
            let mut seen = HashSet::new();
            scan.object(|scan, name| {
                if let Some(name) = seen.replace(name) {
                    found.get_or_insert(name);
                }
                find_doubled(scan, found)
            })
        }
        Some(b'[') => scan.list(|scan| find_doubled(scan, found)),
        _ => scan.value().map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_given_twice_is_found_at_any_depth() {
        for (json, expected) in [
            (r#" {"a": 1, "b": 2, "a": 3} "#, Some("a")),
            (r#"{"o":{"url":1,"\u0075rl":2}}"#, Some("url")),
            (r#"{"l":[0,[{"x":{}},{"y":1,"z":"y","y":[]}]]}"#, Some("y")),
            (r#"{"a":{"a":[{"a":1},{"a":"a"}]},"b":{"a":1}}"#, None),
            ("[]", None),
            ("7", None),
            ("{", None),
        ] {
            assert_eq!(doubled(json).as_deref(), expected, "{json}");
        }
    }
}
