//! Fields of spans as exporters take them.

/// A number in a span: exporters know signed ones only, and make text of others.
pub(super) fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// `{operation} {what}`, as OpenTelemetry names spans.
pub(super) fn span_name(operation: &str, what: Option<&str>) -> String {
    match what {
        Some(what) => format!("{operation} {what}"),
        None => operation.to_owned(),
    }
}
