//! Scans objects and lists value by value: several levels in one pass, of which nothing is kept but
//! what is asked for.

use std::borrow::Cow;

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
