//! The command of a bridge, which makes a server that speaks over stdio reachable over HTTP.

use super::mcp_json::Local;
use crate::{trace::redacted, unseen::is_unseen};

/// The mark in the place of what looks like a secret.
const COVER: &str = "…";

/// The shortest value of a variable that is looked for in arguments: shorter ones, as `1`, are in
/// many.
const VALUE: usize = 4;

/// A bridge to a server: what to run, and where the server is reached then.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) command: String,
    pub(super) url: String,
    /// Whether arguments are covered, so that the command does not run as it is.
    pub(super) is_covered: bool,
}

impl Bridge {
    /// The bridge to `local` at this port; `None` if its command has characters that must not be
    /// pasted into a terminal.
    pub(super) fn to(local: &Local<'_>, port: u16) -> Option<Self> {
        let words = || local.args.iter().copied().chain([local.command]);
        if words().chain(local.directory).any(is_unsafe) {
            return None;
        }
        let mut said = vec![quoted(local.command)];
        let mut is_covered = false;
        let mut before = "";
        for argument in &local.args {
            let shown = covered(before, argument, &local.env);
            is_covered |= shown.is_some();
            said.push(quoted(shown.as_deref().unwrap_or(argument)));
            before = argument;
        }
        let inner = said.join(" ");
        let place = local
            .directory
            .map(|directory| format!("cd {} && ", quoted(directory)));
        let place = place.unwrap_or_default();
        Some(Self {
            command: format!(
                "{place}npx -y supergateway --stdio {} --outputTransport streamableHttp --port {port}",
                quoted(&inner)
            ),
            url: format!("http://127.0.0.1:{port}/mcp"),
            is_covered,
        })
    }
}

/// A word of a POSIX shell that means exactly `text`.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The end of a paste, the bell or a line that runs before all of it was read: a terminal acts on
/// these, whatever quotes stand around them.
fn is_unsafe(text: &str) -> bool {
    text.chars()
        .any(|letter| letter.is_control() || is_unseen(letter))
}

/// An argument that looks like a secret, stands behind the name of one, or has the value of a
/// variable in it, without it; `None` if it is none of these.
fn covered(before: &str, argument: &str, env: &[(&str, &str)]) -> Option<String> {
    let is_secret = |text: &str| redacted(text) != text;
    let is_named = before.starts_with('-')
        && !argument.starts_with('-')
        && (takes_secrets(before, argument) || is_secret(&format!("{before}={argument}")));
    let has_value = env
        .iter()
        .any(|(_, value)| value.len() >= VALUE && argument.contains(value));
    let assigned = argument.split_once('=');
    let shows_itself =
        is_secret(argument) || assigned.is_some_and(|(name, value)| takes_secrets(name, value));
    if !shows_itself && !is_named && !has_value {
        return None;
    }
    // What stands before a `=` in a value is no name, but the value's own beginning.
    let name = assigned.filter(|_| shows_itself || has_value && !is_named);
    let name = name.map(|(name, _)| name);
    let name =
        name.filter(|name| !is_secret(name) && env.iter().all(|(_, value)| !name.contains(value)));
    Some(match name {
        Some(name) => format!("{name}={COVER}"),
        None => COVER.to_owned(),
    })
}

/// Returns `true` for an option whose value may be a secret though its name does not say so: any
/// header, and what many programs take a password (`-p`) or a user with one (`-u`) from. To others
/// these are a port, or the number of a user.
fn takes_secrets(option: &str, value: &str) -> bool {
    let is_number = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".:".contains(&byte));
    match option {
        "-H" => true,
        "-p" => !is_number,
        "-u" | "--user" => value.contains(':') && !is_number,
        _ => option.starts_with("--") && option.to_ascii_lowercase().contains("header"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(command: &str, args: &[&str]) -> Option<Bridge> {
        let local = Local {
            command,
            args: args.to_vec(),
            env: vec![("PASSWORD", "h1dden")],
            directory: None,
        };
        Bridge::to(&local, 8001)
    }

    #[test]
    fn a_command_is_quoted_for_both_shells_that_read_it() {
        for (args, said) in [
            (&["-y", "server@1.2"][..], "'npx -y server@1.2'"),
            (&["a b"], r"'npx '\''a b'\'''"),
            (&["it's"], r"'npx '\''it'\''\'\'''\''s'\'''"),
            (
                &["$(id)", "`id`", ";id", ""],
                r"'npx '\''$(id)'\'' '\''`id`'\'' '\'';id'\'' '\'''\'''",
            ),
        ] {
            let bridge = to("npx", args).unwrap();
            let expected = format!(
                "npx -y supergateway --stdio {said} --outputTransport streamableHttp --port 8001"
            );
            assert_eq!(bridge.command, expected);
        }
    }

    #[test]
    fn what_a_terminal_would_act_on_is_not_shown_as_a_command() {
        for text in ["a\u{1b}[201~\rid", "a\nb", "a\u{202e}b", "\u{7}"] {
            assert!(to(text, &[]).is_none() && to("npx", &[text]).is_none());
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_covered() {
        let secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
        for (args, shown) in [
            (vec!["--api-key", "abcdefgh12345"], "--api-key '\\''…'\\''"),
            (vec!["--token=abcdefgh12345"], "'\\''--token=…'\\''"),
            (vec![secret], "'\\''…'\\''"),
            (vec!["-e", "API_KEY=abcdefgh12345"], "'\\''API_KEY=…'\\''"),
            (vec!["postgres://me:h1dden@db/x"], "'\\''…'\\''"),
            (vec!["-p", "PWSECRET2abc"], "-p '\\''…'\\''"),
            (vec!["-p=PWSECRET2abc"], "'\\''-p=…'\\''"),
            (vec!["--password", "short"], "--password '\\''…'\\''"),
            (vec!["--header=X-Key: s3cret"], "'\\''--header=…'\\''"),
            (vec!["--header", "X-Key: s3cret"], "--header '\\''…'\\''"),
            (vec!["--headers=X-Key: s3cret"], "'\\''--headers=…'\\''"),
            (vec!["-H", "X-Key: s3cret"], "-H '\\''…'\\''"),
            (vec!["-u", "me:s3cret"], "-u '\\''…'\\''"),
            (vec!["--header", "X-Key: a=s3cret"], "--header '\\''…'\\''"),
            (vec!["--cookie", "a=s3cret"], "--cookie '\\''…'\\''"),
        ] {
            let bridge = to("npx", &args).unwrap();
            assert!(
                bridge.is_covered && bridge.command.contains(shown),
                "{bridge:?}"
            );
        }
        assert!(
            !to("npx", &["-y", "@scope/server-github", "/home/me"])
                .unwrap()
                .is_covered
        );
        for plain in [
            &["-p", "8080:80"][..],
            &["--package=@scope/server", "--port", "8080"],
            &["-u", "1000:1000"],
            &["--token", "--verbose"],
        ] {
            assert!(!to("npx", plain).unwrap().is_covered, "{plain:?}");
        }
    }
}
