//! A form that sends a file: `multipart/form-data` (RFC 7578), as browsers write it.

use memchr::memmem::find;

use crate::admin::fault::{Code, Fault};

/// The most fields of such a form; ours has three.
const FIELDS: usize = 16;
/// The longest boundary (RFC 2046 section 5.1.1).
const BOUNDARY: usize = 70;

/// The fields of a form with their names, in its order.
///
/// # Errors
/// [`Code::InvalidRequest`] if it is not one, or has too many fields.
pub(in super::super) fn fields<'b>(
    content_type: &str,
    body: &'b [u8],
) -> Result<Vec<(&'b str, &'b [u8])>, Fault> {
    let broken = || Fault::new(Code::InvalidRequest, "the form with the file is not whole");
    let boundary = boundary(content_type).ok_or_else(broken)?;
    let (first, next) = (format!("--{boundary}"), format!("\r\n--{boundary}"));
    let mut rest = body.strip_prefix(first.as_bytes()).ok_or_else(broken)?;
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        if fields.len() == FIELDS {
            return Err(broken());
        }
        let part = rest.strip_prefix(b"\r\n").ok_or_else(broken)?;
        let head = find(part, b"\r\n\r\n").ok_or_else(broken)?;
        let content = &part[head + 4..];
        let end = find(content, next.as_bytes()).ok_or_else(broken)?;
        let name = std::str::from_utf8(&part[..head]).ok().and_then(name);
        fields.push((name.ok_or_else(broken)?, &content[..end]));
        rest = &content[end + next.len()..];
    }
    Ok(fields)
}

fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').map(str::trim);
    let boundary = parameters
        .filter_map(|one| one.strip_prefix("boundary="))
        .next()?;
    let boundary = boundary.trim_matches('"');
    (1..=BOUNDARY).contains(&boundary.len()).then_some(boundary)
}

/// The name in the headers of a field.
fn name(head: &str) -> Option<&str> {
    let is_it = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("content-disposition")
    };
    let line = head.split("\r\n").find(is_it)?;
    let mut parameters = line.split(';').map(str::trim);
    let name = parameters.find_map(|one| one.strip_prefix("name="))?;
    Some(name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=----WebKitFormBoundaryA1";

    fn form(parts: &[(&str, &str)]) -> String {
        let mut body = String::new();
        for (head, content) in parts {
            body += &format!("------WebKitFormBoundaryA1\r\n{head}\r\n\r\n{content}\r\n");
        }
        body + "------WebKitFormBoundaryA1--\r\n"
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a; name=b.json\"\r\n\
                    Content-Type: application/json";
        let text = "content-disposition: form-data; name=text";
        let body = form(&[(file, "{\r\n--x}"), (text, "")]);
        let fields = fields(TYPE, body.as_bytes()).unwrap();
        assert_eq!(fields, [("file", &b"{\r\n--x}"[..]), ("text", b"")]);
        assert!(
            super::fields(TYPE, form(&[]).as_bytes())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let whole = form(&[("content-disposition: form-data; name=a", "b")]);
        for end in 0..whole.len() - 4 {
            assert!(fields(TYPE, &whole.as_bytes()[..end]).is_err(), "{end}");
        }
        let nameless = form(&[("content-type: text/plain", "b")]);
        let many = form(&[("content-disposition: form-data; name=a", "b"); FIELDS + 1]);
        for (kind, body) in [
            (TYPE, &*nameless),
            (TYPE, &many),
            ("multipart/form-data", &whole),
            ("multipart/form-data; boundary=", &whole),
        ] {
            assert!(fields(kind, body.as_bytes()).is_err());
        }
    }
}
