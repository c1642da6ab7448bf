//! Names of servers, made of the names that files have for them.

use std::fmt::Write;

/// The longest name of a server.
const LONGEST: usize = 40;
/// The name made of one without a letter or digit.
const NAMELESS: &str = "server";

/// The slug nearest to `name`: in lower case, with one hyphen for all between letters and digits.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(LONGEST);
    for letter in name.chars() {
        if slug.len() == LONGEST {
            break;
        }
        match letter.is_ascii_alphanumeric() {
            true => slug.push(letter.to_ascii_lowercase()),
            false if slug.is_empty() || slug.ends_with('-') => {}
            false => slug.push('-'),
        }
    }
    let length = slug.trim_end_matches('-').len();
    slug.truncate(length);
    match slug.is_empty() {
        true => NAMELESS.to_owned(),
        false => slug,
    }
}

/// The name to try at the `n`th time, from 1, where those before are taken.
pub(super) fn numbered(slug: &str, n: usize) -> String {
    if n == 1 {
        return slug.to_owned();
    }
    let mut end = String::new();
    // Writing to a String cannot fail.
    let _ = write!(end, "-{n}");
    let room = LONGEST - end.len();
    let start = slug.get(..room).unwrap_or(slug).trim_end_matches('-');
    format!("{start}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ServerName;

    #[test]
    fn every_name_becomes_one_that_a_server_can_have() {
        let long = "a-".repeat(40);
        for (name, expected) in [
            ("github", "github"),
            ("GitHub (prod)", "github-prod"),
            ("__a__b__", "a-b"),
            ("サーバー", "server"),
            ("", "server"),
            ("-", "server"),
            ("1Password", "1password"),
            ("io.github/x", "io-github-x"),
            ("<script>alert(1)</script>", "script-alert-1-script"),
            ("a\u{202e}b\0c", "a-b-c"),
            (&long, "a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
            for n in [1, 2, 10, 200] {
                let numbered = numbered(&slug(name), n);
                assert!(numbered.parse::<ServerName>().is_ok(), "{numbered}");
            }
        }
        assert_eq!(numbered("github", 2), "github-2");
        assert_eq!(
            numbered(&"a".repeat(40), 12),
            format!("{}-12", "a".repeat(37))
        );
    }
}
