//! `ca list`: what was issued, for people or for machines.

use super::args::ListArgs;
use super::certificate::{Parsed, Serial};
use super::directory::Directory;
use super::moment::Moment;
use super::names::{AltName, line};
use super::revoked::{Entry, Revoked};
use crate::keys::print;
use crate::report::{IO, Report};

/// Shows every certificate on record.
pub fn run(args: &ListArgs) -> Result<u8, Report> {
    let directory = Directory::open(&args.dir)?;
    let all = directory.all()?;
    let revoked = Revoked::load(&directory)?;
    let now = Moment::now()?;
    let rows = all.iter().map(|(serial, certificate)| Row::new(*serial, certificate, revoked.find(*serial), now));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if args.json {
        let rows: Vec<String> = rows.iter().map(Row::json).collect();
        return print(&format!("[{}]\n", rows.join(",\n ")));
    }
    if rows.is_empty() {
        return print("nothing was issued yet\n");
    }
    print(&rows.iter().map(Row::text).collect::<String>())
}

struct Row<'a> {
    serial: Serial,
    state: &'static str,
    certificate: &'a Parsed,
    names: Vec<AltName>,
    key: String,
    revoked: Option<&'a Entry>,
}

impl<'a> Row<'a> {
    fn new(serial: Serial, certificate: &'a Parsed, revoked: Option<&'a Entry>, now: Moment) -> Result<Self, Report> {
        let damaged = |why: String| Report::new(IO, format!("the certificate {serial}: {why}"), None);
        let state = match revoked {
            Some(_) => "revoked",
            None if certificate.not_after() < now => "expired",
            None => "valid",
        };
        let key = certificate.key().map_err(damaged)?.fingerprint().to_string();
        Ok(Row { serial, state, certificate, names: certificate.names().map_err(damaged)?, key, revoked })
    }

    fn text(&self) -> String {
        let Row { serial, state, key, .. } = self;
        let names = if self.names.is_empty() {
            format!("({})", self.certificate.common_name().escape_debug())
        } else {
            line(&self.names)
        };
        let why = self.revoked.map(|entry| format!("  revoked {} {}", entry.time, entry.reason.name()));
        let why = why.unwrap_or_default();
        format!("{serial}  {state:7}  {}  {key}  {names}{why}\n", self.certificate.not_after())
    }

    fn json(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|name| text(&name.to_string())).collect();
        let mut fields = vec![
            ("serial", text(&self.serial.to_string())),
            ("state", text(self.state)),
            ("subject", text(&self.certificate.common_name())),
            ("names", format!("[{}]", names.join(","))),
            ("not_before", text(&self.certificate.not_before().to_string())),
            ("not_after", text(&self.certificate.not_after().to_string())),
            ("key", text(&self.key)),
        ];
        if let Some(entry) = self.revoked {
            fields.push(("revoked", text(&entry.time.to_string())));
            fields.push(("reason", text(entry.reason.name())));
        }
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}

/// A JSON string.
fn text(value: &str) -> String {
    let mut json = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            character if character.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => json.push(character),
        }
    }
    json.push('"');
    json
}
