//! The configuration file: TOML, whose keys are the flags. A table becomes a command line, which the parser of the command line reads; so there is nothing that
//! one can say and the other can't.

use std::fs;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser};
use toml::{Table as Toml, Value};

use crate::report::{IO, Report, USAGE};
use crate::tunnel::args::{ClientArgs, ProcessArgs, ServerArgs, Table};

/// All tunnels of a process, and the process.
#[derive(Debug)]
pub struct Plan {
    pub process: ProcessArgs,
    pub entries: Vec<Entry>,
}

/// One tunnel.
#[derive(Clone, Debug)]
pub struct Entry {
    pub end: End,
    /// What was said of it: tells whether it has changed.
    pub said: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum End {
    Server(Box<ServerArgs>),
    Client(Box<ClientArgs>),
}

impl Plan {
    /// Reads the file; everything that it names is read later.
    pub fn read(path: &Path) -> Result<Self, Report> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Report::new(IO, format!("can't read the configuration {shown}: {error}"), None))?;
        let parsed: Result<Toml, _> = text.parse();
        let mut top = parsed.map_err(|error| wrong(format!("{shown}: {}", error.to_string().trim_end())))?;
        let mut entries = Vec::new();
        for (kind, make) in [("server", server as Make), ("client", client as Make)] {
            let tables = match top.remove(kind) {
                None => Vec::new(),
                Some(Value::Array(tables)) => tables,
                Some(_) => return Err(wrong(format!("{shown}: {kind} is not a list of tables: write [[{kind}]]"))),
            };
            for (n, table) in tables.into_iter().enumerate() {
                let place = format!("{shown}: [[{kind}]] number {}", n + 1);
                let Value::Table(table) = table else {
                    return Err(wrong(format!("{place} is not a table")));
                };
                entries.push(make(&place, arguments(&place, table)?)?);
            }
        }
        let tables = |value: &Value| {
            matches!(value, Value::Table(_)) || value.as_array().is_some_and(|all| all.iter().any(Value::is_table))
        };
        if let Some((name, _)) = top.iter().find(|(_, value)| tables(value)) {
            return Err(wrong(format!("{shown}: there is no [{name}], only [[server]] and [[client]]")));
        }
        let place = format!("{shown}: at the top, before the first [[...]]");
        let process = parse::<ProcessArgs>(&place, &arguments(&place, top)?)?;
        if entries.is_empty() {
            return Err(wrong(format!("{shown}: there is no tunnel in it: [[server]] or [[client]]")));
        }
        Ok(Plan { process, entries })
    }
}

type Make = fn(&str, Vec<String>) -> Result<Entry, Report>;

fn server(place: &str, said: Vec<String>) -> Result<Entry, Report> {
    Ok(Entry { end: End::Server(Box::new(parse(place, &said)?)), said })
}

fn client(place: &str, said: Vec<String>) -> Result<Entry, Report> {
    Ok(Entry { end: End::Client(Box::new(parse(place, &said)?)), said })
}

/// The flags that a table stands for.
fn arguments(place: &str, table: Toml) -> Result<Vec<String>, Report> {
    let mut arguments = Vec::new();
    for (key, value) in table {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            return Err(wrong(format!("{place}: {key:?} is no key")));
        }
        let values = match value {
            Value::Array(values) => values,
            // route = { SERVICE = "TARGET" }
            Value::Table(pairs) => {
                let pair = |(name, value): (String, Value)| {
                    scalar(&value).map(|value| Value::String(format!("{name}={value}")))
                };
                pairs.into_iter().map(pair).collect::<Option<Vec<_>>>().ok_or_else(|| unfit(place, &key))?
            }
            value => vec![value],
        };
        for value in values {
            match value {
                Value::Integer(_) if key == "socket-mode" => {
                    return Err(wrong(format!("{place}: {key} is a text: write {key} = \"660\"")));
                }
                Value::Boolean(false) => {}
                Value::Boolean(true) => arguments.push(format!("--{key}")),
                value => {
                    let value = scalar(&value).ok_or_else(|| unfit(place, &key))?;
                    arguments.push(format!("--{key}={value}"));
                }
            }
        }
    }
    Ok(arguments)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn parse<A: Args>(place: &str, said: &[String]) -> Result<A, Report> {
    let arguments = std::iter::once("countersign").chain(said.iter().map(|said| &**said));
    let parsed = Table::<A>::try_parse_from(arguments);
    parsed.map(|table| table.args).map_err(|error| {
        // Without the usage of a command line, which this is not.
        if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
            && error.kind() == ErrorKind::UnknownArgument
            && let Some(key) = OF_PROCESS.into_iter().find(|key| flag.strip_prefix("--") == Some(key))
        {
            return wrong(format!(
                "{place}: {key} is of the whole process: write it at the top, before the first [[...]]"
            ));
        }
        let text = error.to_string();
        let text = text.split("\n\nUsage:").next().unwrap_or_default().trim_end();
        let text = text.strip_prefix("error: ").unwrap_or(text).replace("'--", "'");
        wrong(format!("{place}: {text}"))
    })
}

/// The keys at the top.
const OF_PROCESS: [&str; 4] = ["admin", "drain", "log", "takeover"];

fn unfit(place: &str, key: &str) -> Report {
    wrong(format!("{place}: {key} has a value that is neither text nor a whole number"))
}

fn wrong(text: String) -> Report {
    Report::new(
        USAGE,
        text,
        Some("the keys are the flags of `countersign tunnel server --help` and `client --help`, without `--`"),
    )
}
