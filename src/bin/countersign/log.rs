//! Lines on standard error, as text or as JSON. A closed standard error is no reason to stop.

use std::fmt::Display;
use std::io::Write;
use std::num::NonZeroU8;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

/// From now on every line is a JSON object.
pub fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Writes one line.
pub fn line(text: impl Display) {
    if JSON.load(Ordering::Relaxed) {
        let text = text.to_string();
        let (kind, text) = match text.split_once(": ") {
            Some((kind @ ("error" | "warning"), text)) => (kind, text),
            _ => ("message", &*text),
        };
        return Event::new(kind).text("text", text).write();
    }
    put(&text.to_string());
}

/// A line with named values.
#[derive(Debug)]
pub struct Event {
    text: String,
    json: Map<String, Value>,
}

impl Event {
    pub fn new(kind: &str) -> Self {
        let time = OffsetDateTime::now_utc().format(&Iso8601::<MILLISECONDS>).unwrap_or_default();
        let json = [("time", time), ("event", kind.to_string())];
        let json = json.into_iter().map(|(name, value)| (name.to_string(), Value::String(value))).collect();
        Event { text: kind.to_string(), json }
    }

    /// A value that rarely has blanks or anything else that has to be quoted.
    pub fn word(self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        let event = if plain { self.shown(name, &value) } else { self.shown(name, format_args!("{value:?}")) };
        event.only_json(name, Value::String(value))
    }

    /// A value that is quoted in text.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.shown(name, format_args!("{value:?}")).only_json(name, Value::String(value.to_string()))
    }

    pub fn number(self, name: &str, value: impl Into<Value> + Copy + Display) -> Self {
        self.shown(name, value).only_json(name, value.into())
    }

    /// A value in text only.
    pub fn shown(mut self, name: &str, value: impl Display) -> Self {
        self.text.push_str(&format!(" {name}={value}"));
        self
    }

    /// A value in JSON only.
    pub fn only_json(mut self, name: &str, value: Value) -> Self {
        self.json.insert(name.to_string(), value);
        self
    }

    /// The same with words behind the kind, in text.
    pub fn saying(mut self, words: impl Display) -> Self {
        self.text.push_str(&format!(" {words}"));
        self
    }

    pub fn write(self) {
        put(&self.line());
    }

    fn line(self) -> String {
        if JSON.load(Ordering::Relaxed) { Value::Object(self.json).to_string() } else { self.text }
    }
}

/// From now on a thread writes: whoever reads standard error and stalls must not stop anything else. Lines beyond those that wait are lost, and counted.
pub fn write_apart() {
    let (lines, waiting) = sync_channel(WAITING);
    let writer = move || {
        for next in waiting {
            match next {
                Next::Line(line) => {
                    let lost = LOST.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        put_now(&Event::new("lost").number("lines", lost).line());
                    }
                    put_now(&line);
                }
                Next::Told(told) => drop(told.send(())),
            }
        }
    };
    if thread::Builder::new().name("log".to_string()).spawn(writer).is_ok() {
        let _ = WRITER.set(lines);
    }
}

/// Waits until all is written, a second at most.
pub fn finish() {
    let (tell, told) = sync_channel(1);
    if let Some(lines) = WRITER.get()
        && lines.try_send(Next::Told(tell)).is_ok()
    {
        let _ = told.recv_timeout(Duration::from_secs(1));
    }
}

enum Next {
    Line(String),
    Told(SyncSender<()>),
}

fn put(line: &str) {
    match WRITER.get() {
        None => put_now(line),
        Some(lines) => {
            if lines.try_send(Next::Line(line.to_string())).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// In one write, so that the lines of two processes don't mix.
fn put_now(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

static WRITER: OnceLock<SyncSender<Next>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);
const WAITING: usize = 8_192;
/// As RFC 3339 has it, always of the same length.
const MILLISECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();
static JSON: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use super::*;

    // What a peer chooses can't look like another field, or another line.
    #[test]
    fn values_are_quoted_where_they_have_to_be() {
        let event =
            Event::new("closed").word("tunnel", "front").word("name", "a b=\"c\nd").text("service", "x\u{1b}[2J");
        assert_eq!(event.line(), "closed tunnel=front name=\"a b=\\\"c\\nd\" service=\"x\\u{1b}[2J\"");
    }
}
