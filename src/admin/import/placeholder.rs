//! Placeholders: `${…}` in a file, which the program that it is for would fill in. Here nothing is
//! filled in, and an operator enters the value.

/// The most placeholders of one value that are told.
const TOLD: usize = 8;
/// The longest placeholder that is repeated.
const LONGEST: usize = 80;

/// The placeholders in a value, each once, without the defaults that some have: those may be secrets.
pub(in super::super) fn placeholders(value: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for piece in value.split("${").skip(1) {
        let Some((inside, _)) = piece.split_once('}') else {
            continue;
        };
        let name = inside.split(":-").next().unwrap_or_default();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_-.: ".contains(letter);
        let told = match !name.is_empty() && name.len() <= LONGEST && name.chars().all(is_name) {
            true => format!("${{{name}}}"),
            false => "${…}".to_owned(),
        };
        if found.len() < TOLD && !found.contains(&told) {
            found.push(told);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_and_their_defaults_are_not() {
        for (value, told) in [
            (
                "Bearer ${input:github-token}",
                &["${input:github-token}"][..],
            ),
            ("${A}:${env:B} ${A}", &["${A}", "${env:B}"]),
            ("${KEY:-s3cret}", &["${KEY}"]),
            ("${<b>}", &["${…}"]),
            ("${}", &["${…}"]),
            ("$A {B} ${open", &[]),
        ] {
            assert_eq!(placeholders(value), told, "{value}");
        }
        let many: String = (0..20).map(|n| format!("${{A{n}}}")).collect();
        assert_eq!(placeholders(&many).len(), TOLD);
    }
}
