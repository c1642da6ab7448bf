//! Lines of the log as text without colours: the same as `tracing_subscriber` writes them, at a
//! third of the cost.
//!
//! Its own format paints every piece with a style, also where there is none, goes through each
//! message character by character, and works out the date of each line. There is a line for each
//! request.

use std::{
    cell::RefCell,
    error::Error,
    fmt::{self, Debug, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{DefaultVisitor, Writer},
        time::{self, FormatTime},
    },
    registry::LookupSpan,
};

/// The format of events and of the fields of spans.
pub struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write_time(&mut writer)?;
        writer.write_str(match *metadata.level() {
            Level::TRACE => " TRACE ",
            Level::DEBUG => " DEBUG ",
            Level::INFO => "  INFO ",
            Level::WARN => "  WARN ",
            Level::ERROR => " ERROR ",
        })?;
        let mut is_within = false;
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|s| s.from_root())
        {
            is_within = true;
            writer.write_str(span.metadata().name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                writer.write_char('{')?;
                writer.write_str(fields)?;
                writer.write_char('}')?;
            }
            writer.write_char(':')?;
        }
        if is_within {
            writer.write_char(' ')?;
        }
        writer.write_str(metadata.target())?;
        writer.write_str(": ")?;
        context.format_fields(writer.by_ref(), event)?;
        writer.write_char('\n')
    }
}

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut written = Fields {
            writer,
            is_empty: true,
            result: Ok(()),
        };
        fields.record(&mut written);
        written.result
    }
}

/// Fields as `name=value`, but for the message.
struct Fields<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, name: &str, value: &dyn Debug) -> fmt::Result {
        if !self.is_empty {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            self.writer.write_str(name)?;
            self.writer.write_char('=')?;
        }
        self.is_empty = false;
        write!(self.writer, "{value:?}")
    }

    /// Leaves a field with something to be escaped, or left out, to `tracing_subscriber`.
    fn leave(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        let mut visitor = DefaultVisitor::new(self.writer.by_ref(), self.is_empty);
        record(&mut visitor);
        self.is_empty = false;
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.leave(|visitor| visitor.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_err() {
            return;
        }
        let name = field.name();
        if name.starts_with("log.") {
            return;
        }
        if name.starts_with("r#") || name == "message" && write!(Printable, "{value:?}").is_err() {
            self.leave(|visitor| visitor.record_debug(field, value));
        } else {
            self.result = self.write(name, value);
        }
    }
}

/// Takes only text that is the same when it is escaped.
struct Printable;

impl Write for Printable {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_printable.then_some(()).ok_or(fmt::Error)
    }
}

/// The length of a time up to its seconds, with the point behind them.
const SECOND: usize = "2000-01-01T00:00:00.".len();

thread_local! {
    /// The last second with a line, and its text.
    static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

fn write_time(writer: &mut Writer<'_>) -> fmt::Result {
    let now = since_epoch();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            text.clear();
            time::SystemTime.format_time(&mut Writer::new(text))?;
            // Not kept if the second ended meanwhile, nor for years of five digits.
            let is_sure = since_epoch().as_secs() == now.as_secs()
                && text.as_bytes().get(SECOND - 1) == Some(&b'.');
            *second = if is_sure { now.as_secs() } else { u64::MAX };
            return writer.write_str(text);
        }
        writer.write_str(&text[..SECOND])?;
        write!(writer, "{:06}Z", now.subsec_micros())
    })
}

fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 no second is the last one, so that each time is worked out.
    now.unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::Dispatch;
    use tracing_subscriber::{fmt::layer, layer::SubscriberExt, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// The lines without their times, which must look like some.
        fn texts(&self) -> Vec<String> {
            let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            all.split_inclusive('\n')
                .map(|line| {
                    let shape: String = (line.chars().take(27))
                        .map(|c| if c.is_ascii_digit() { '0' } else { c })
                        .collect();
                    assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{line}");
                    line[27..].to_owned()
                })
                .collect()
        }
    }

    /// Logs lines of every kind.
    fn log() {
        let inner = io::Error::other("inner \u{1b}[31m");
        let error: &(dyn Error + 'static) = &io::Error::other(inner);
        tracing::info!("nothing else");
        tracing::trace!(r#type = "x", "a raw name");
        tracing::debug!(target: "another::target", text = "a \"quoted\"\n line", "{}", "made up");
        tracing::error!(
            error,
            number = -3,
            is = true,
            "an error \u{1b}[31m in \u{85}red"
        );
        tracing::warn!(error);
        tracing::warn!(latency = %"0 ms", status = 200);
        let span = tracing::info_span!("request", method = %"GET", path = "/ä \u{7f}");
        let none = tracing::info_span!(parent: &span, "without", later = tracing::field::Empty);
        none.in_scope(|| tracing::info!(status = Some(200), none = None::<u8>, "within"));
        none.record("later", 1.5);
        none.in_scope(|| tracing::info!("recorded"));
    }

    #[test]
    fn each_line_is_as_the_subscribers_own_format_writes_it() {
        let (own, known) = (Lines::default(), Lines::default());
        let (to_own, to_known) = (own.clone(), known.clone());
        let plain = layer().with_ansi(false).with_writer(move || to_own.clone());
        let plain = plain.event_format(Plain).fmt_fields(Plain);
        let full = layer()
            .with_ansi(false)
            .with_writer(move || to_known.clone());
        for subscriber in [
            Dispatch::new(registry().with(plain)),
            Dispatch::new(registry().with(full)),
        ] {
            tracing::dispatcher::with_default(&subscriber, log);
        }
        let lines = own.texts();
        assert_eq!(lines, known.texts());
        assert_eq!(lines.len(), 8);
    }
}
