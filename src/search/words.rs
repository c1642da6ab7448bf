//! The words of a text, as they are found again: in lower case, without the `s` of a plural.
//!
//! Names are taken apart where their readers do it: `createIssue_v2` has the words `create`, `issue`,
//! `v` and `2`. Scripts that write no blanks have none to be split at: there every character is a
//! word, and every two in a row are one.

/// The part of a character in the words around it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A letter that begins no word inside of a name; also one of a script without cases.
    Lower,
    Upper,
    Digit,
    /// A letter of a script that writes no blanks between words.
    Unspaced,
    /// Between words.
    Between,
}

impl Kind {
    fn of(character: char) -> Self {
        match character {
            'a'..='z' => Self::Lower,
            'A'..='Z' => Self::Upper,
            '0'..='9' => Self::Digit,
            character if character.is_ascii() => Self::Between,
            character if is_unspaced(character) => Self::Unspaced,
            character if character.is_uppercase() => Self::Upper,
            character if character.is_numeric() => Self::Digit,
            character if character.is_alphabetic() => Self::Lower,
            _ => Self::Between,
        }
    }
}

/// Thai, Lao, Burmese, Khmer, kana, ideographs. Korean writes blanks, but joins particles to its
/// words, which two syllables in a row see past.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        && character.is_alphanumeric()
}

/// Calls `found` with each word of `text`, in its order.
pub(super) fn words(text: &str, mut found: impl FnMut(&str)) {
    let mut word = String::new();
    let mut before = Kind::Between;
    let mut unspaced = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let kind = Kind::of(character);
        let goes_on = match (before, kind) {
            (Kind::Upper, Kind::Lower) => true,
            (Kind::Upper, Kind::Upper) => !begins_word(characters.clone()),
            (before, kind) => before == kind,
        };
        if !goes_on && !word.is_empty() {
            singular(&mut word);
            found(&word);
            word.clear();
        }
        match kind {
            Kind::Unspaced => {
                let mut two = String::from_iter(unspaced);
                two.push(character);
                if unspaced.is_some() {
                    found(&two);
                }
                found(character.encode_utf8(&mut [0; 4]));
            }
            Kind::Between => {}
            _ if character.is_ascii() => word.push(character.to_ascii_lowercase()),
            Kind::Lower | Kind::Upper | Kind::Digit => word.extend(character.to_lowercase()),
        }
        unspaced = (kind == Kind::Unspaced).then_some(character);
        before = kind;
    }
    if !word.is_empty() {
        singular(&mut word);
        found(&word);
    }
}

/// Returns `true` if a capital before these characters begins a word, as the last of `HTTPServer`
/// does, and that of `URLs` does not.
fn begins_word(mut rest: impl Iterator<Item = char>) -> bool {
    let is_lower = |next: Option<char>| next.map(Kind::of) == Some(Kind::Lower);
    match rest.next() {
        Some('s') => is_lower(rest.next()),
        next => is_lower(next),
    }
}

/// Takes the ending of an English plural off. Names and requests say `issue` and `issues` at random,
/// and no more of English is that regular.
fn singular(word: &mut String) {
    let text = word.as_str();
    if text.len() < 3 || !text.is_ascii() || !text.ends_with('s') {
        return;
    }
    let is = |ends: &[&str]| ends.iter().any(|end| text.ends_with(end));
    let (cut, added) = if is(&["ss", "us", "is"]) {
        (0, "")
    } else if is(&["ies"]) && text.len() > 4 {
        (3, "y")
    } else if is(&["ches", "shes", "sses", "xes", "zes"]) {
        (2, "")
    } else {
        (1, "")
    };
    word.truncate(word.len() - cut);
    word.push_str(added);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_has_words_and_each_is_found_in_itself(text in ".{0,40}") {
            for word in all(&text) {
                prop_assert!(!word.is_empty() && !word.contains(char::is_whitespace), "{word:?}");
                prop_assert!(!all(&word).is_empty());
            }
        }
    }

    fn all(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        words(text, |word| all.push(word.to_owned()));
        all
    }

    #[test]
    fn names_are_taken_apart_where_their_readers_do_it() {
        for (text, expected) in [
            ("github__create_issue", "github create issue"),
            ("createIssue", "create issue"),
            ("HTTPServer-v2", "http server v 2"),
            ("getURLs of VMs", "get url of vm"),
            (
                "Lists the queries, boxes & statuses.",
                "list the query box statuse",
            ),
            ("classes of analysis", "class of analysis"),
            ("Über Straßen", "über straßen"),
            ("добавитьЗадачу", "добавить задачу"),
            ("\u{200b}...", ""),
        ] {
            assert_eq!(all(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn scripts_without_blanks_have_words_of_one_and_two_characters() {
        assert_eq!(
            all("検索する"),
            ["検", "検索", "索", "索す", "す", "する", "る"]
        );
        assert_eq!(all("git 検 x索"), ["git", "検", "x", "索"]);
        assert_eq!(all("이슈"), ["이", "이슈", "슈"]);
    }
}
