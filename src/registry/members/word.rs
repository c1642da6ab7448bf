//! Enums whose values are written as a single word in every text.

use crate::{
    mcp::Transport,
    registry::{AuthKind, Gate, OAuthGrant, ShareSession, ToolPolicy},
    signing_algorithm::SigningAlgorithm,
    subject_token_type::SubjectTokenType,
    token_auth::TokenAuth,
};

/// A type whose values are written as a single word each.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// The name of the schema in the OpenAPI document.
    const SCHEMA: &'static str;

    /// The words and their values, in the order in which they are listed.
    const WORDS: &'static [(&'static str, Self)];

    /// The words without their values.
    fn words() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(word, _)| *word).collect()
    }

    /// The value of `word`; `None` if there is none.
    fn of_word(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| *value)
    }

    /// The word of this value.
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map_or("", |(word, _)| word)
    }

    /// The message for a text that is none of the words.
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
        "client_secret_post" = ClientSecretPost, "private_key_jwt" = PrivateKeyJwt, "none" = None;
    ToolPolicy "Policy": "auto" = Auto, "ask_first" = AskFirst;
    Transport "Transport": "streamable_http" = StreamableHttp, "sse" = Sse;
}

macro_rules! own_words {
    ($($type:ident)+) => {$(
        impl Word for $type {
            const SCHEMA: &'static str = stringify!($type);
            const WORDS: &'static [(&'static str, Self)] = &Self::ALL;
        }
    )+};
}

own_words!(OAuthGrant ShareSession SigningAlgorithm SubjectTokenType);
