//! The target for the redaction of records.

use serde_json::Value;

use super::redact::redacted;
use crate::fuzz_input::text;

/// No word of the alphabet of secrets, so that a mask has none of it in it.
const SECRET: &str = "ZQXJ0123456789ZQXJ";

/// Asserts that masked JSON is still JSON, and that no secret remains that its name or its form
/// gives away, whatever stands before it.
pub(crate) fn redact(data: &[u8]) {
    let text = text(data);
    let kept = redacted(text);
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert!(
            serde_json::from_str::<Value>(&kept).is_ok(),
            "no JSON any more: {kept}"
        );
        if let Value::Object(mut members) = value
            && !text.contains(SECRET)
        {
            members.insert("password".into(), SECRET.into());
            let kept = redacted(&Value::Object(members).to_string());
            assert!(!kept.contains(SECRET), "{kept}");
        }
    }
    if !text.contains(SECRET) {
        for form in [
            "Authorization: Bearer ",
            "api_key=",
            "ghp_",
            "https://user:",
        ] {
            let end = if form.ends_with("user:") {
                "@example.com/\n"
            } else {
                "\n"
            };
            let kept = redacted(&format!("{text}\n{form}{SECRET}{end}"));
            assert!(!kept.contains(SECRET), "{form} {kept}");
        }
    }
}
