//! The differences between two texts, line by line.

/// The most lines that are compared: the table below grows with their product. Longer texts are
/// shown whole, one after the other.
const LINES: usize = 600;

/// A line of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    Come(&'a str),
}

/// The lines of both texts, of which as many as possible are the same.
pub(super) fn lines<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    if old.len() > LINES || new.len() > LINES {
        let gone = old.into_iter().map(Line::Gone);
        return gone.chain(new.into_iter().map(Line::Come)).collect();
    }
    let common = common(&old, &new);
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(old.len().max(new.len()));
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                lines.push(Line::Same(a));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || common[i + 1][j] >= common[i][j + 1] => {
                lines.push(Line::Gone(a));
                i += 1;
            }
            (_, Some(b)) => {
                lines.push(Line::Come(b));
                j += 1;
            }
            (_, None) => break,
        }
    }
    lines
}

/// The number of common lines of both remainders, for each pair of positions.
fn common(old: &[&str], new: &[&str]) -> Vec<Vec<u16>> {
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_stays_and_the_rest_goes_or_comes() {
        use Line::{Come, Gone, Same};
        assert_eq!(
            lines("a\nb\nc", "a\nx\nc\nd"),
            [Same("a"), Gone("b"), Come("x"), Same("c"), Come("d")]
        );
        assert_eq!(lines("", "a"), [Come("a")]);
        assert_eq!(lines("a", ""), [Gone("a")]);
        assert_eq!(lines("a\nb", "b\na").len(), 3);
    }

    #[test]
    fn both_texts_are_in_it() {
        let (old, new) = ("x\n".repeat(700), "x\n".repeat(3));
        let all = lines(&old, &new);
        assert_eq!(
            all.iter()
                .filter(|line| matches!(line, Line::Gone(_)))
                .count(),
            700
        );
        assert_eq!(
            all.iter()
                .filter(|line| matches!(line, Line::Come(_)))
                .count(),
            3
        );
    }
}
