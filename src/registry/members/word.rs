//! Values that are one word in every text.

use crate::{
    mcp::Transport,
    registry::{AuthKind, Gate, ShareSession, ToolPolicy},
    token_auth::TokenAuth,
};

/// A type whose values are written as one word each.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// What the OpenAPI document calls it.
    const SCHEMA: &'static str;

    /// All of them, in the order in which they are told.
    const WORDS: &'static [(&'static str, Self)];

    /// The words alone.
    fn words() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(word, _)| *word).collect()
    }

    fn of_word(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| *value)
    }

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map_or("", |(word, _)| word)
    }

    /// What a text must be that is none of them.
    fn expected() -> String {
        let quoted = |word: &&str| format!("\"{word}\"");
        match &Self::words()[..] {
            [first @ .., last] => {
                let first: Vec<_> = first.iter().map(quoted).collect();
                format!("must be {} or \"{last}\"", first.join(", "))
            }
            [] => String::new(),
        }
    }
}

macro_rules! words {
    ($($type:ident $schema:literal: $($word:literal = $value:ident),+;)+) => {$(
        impl Word for $type {
            const SCHEMA: &'static str = $schema;
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$value)),+];
        }
    )+};
}

words! {
    AuthKind "AuthType": "none" = None, "static_headers" = StaticHeaders, "oauth2" = OAuth2,
        "token_passthrough" = TokenPassthrough;
    Gate "Gate": "block" = Block, "allow" = Allow;
    TokenAuth "TokenAuth": "client_secret_basic" = ClientSecretBasic,
        "client_secret_post" = ClientSecretPost, "none" = None;
    ToolPolicy "Policy": "auto" = Auto, "ask_first" = AskFirst;
    Transport "Transport": "streamable_http" = StreamableHttp, "sse" = Sse;
}

impl Word for ShareSession {
    const SCHEMA: &'static str = "ShareSession";
    const WORDS: &'static [(&'static str, Self)] = &Self::ALL;
}
