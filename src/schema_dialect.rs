//! `SchemaDialect`: the words of JSON Schema that an upstream reads.

use crate::name::ServerName;

/// The words of JSON Schema that an upstream reads in tools.
///
/// With either one, schemas are first made portable, and arguments are checked by the schema as the
/// server wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaDialect {
    /// JSON Schema, as OpenAI, Anthropic and most others read it.
    #[default]
    Standard,
    /// Gemini's own selection of it, which its API and Vertex AI read; anything else they refuse.
    /// Source: <https://ai.google.dev/api/caching#Schema>.
    Gemini,
}

impl SchemaDialect {
    /// The reason why tools of a server with this name cannot be offered; `None` if they can.
    ///
    /// Gemini wants names of functions to begin with a letter, and offered names begin with the
    /// server's.
    pub fn name_fault(self, server: &ServerName) -> Option<&'static str> {
        let begins_with_digit = server
            .as_str()
            .starts_with(|first: char| first.is_ascii_digit());
        (self == Self::Gemini && begins_with_digit)
            .then_some("begins with a digit, which Gemini refuses")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gemini_refuses_names_that_begin_with_a_digit() {
        let fault = |dialect: SchemaDialect, name: &str| dialect.name_fault(&name.parse().unwrap());
        assert!(fault(SchemaDialect::Gemini, "1password").is_some());
        assert_eq!(fault(SchemaDialect::Gemini, "a1"), None);
        assert_eq!(fault(SchemaDialect::Standard, "1password"), None);
    }
}
