//! Lines on standard error, as text or as JSON. A closed standard error is no reason to stop.

use std::fmt::Display;
use std::io::Write;
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, Ordering};

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
        let line = if JSON.load(Ordering::Relaxed) { Value::Object(self.json).to_string() } else { self.text };
        put(&line);
    }
}

/// In one write, so that the lines of two processes don't mix.
fn put(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// As RFC 3339 has it, always of the same length.
const MILLISECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();
static JSON: AtomicBool = AtomicBool::new(false);
