//! `ca issue` and `ca renew`. A certificate is on record, durably, before it is written to where others see it: one
//! that got out can always be listed and revoked. What a crash in between leaves is one on record that nobody has.

use std::path::{Path, PathBuf};

use super::args::{IssueArgs, RenewArgs};
use super::authority::{Authority, Leaf};
use super::certificate::{Parsed, Serial};
use super::directory::Directory;
use super::files::Output;
use super::moment::Moment;
use super::names::{AltName, line};
use super::request;
use super::revoked::Revoked;
use crate::keys::print;
use crate::log;
use crate::report::{IO, Report};

/// Makes a certificate for a public line or a request.
pub fn issue(args: &IssueArgs) -> Result<u8, Report> {
    let holder = request::read(&args.subject)?;
    let mut names = args.names.all();
    if names.is_empty() {
        names = holder.requested.map_err(|why| {
            let message = format!("{}: the request asks for what is not signed: {why}", args.subject.display());
            Report::new(
                IO,
                message,
                Some("give the names with --dns, --ip and --uri; those of the request are not used then"),
            )
        })?;
        if holder.is_request {
            log::line(format!("the names are those that the request asks for: {}", line(&names)));
        }
    }
    let common_name = match (holder.comment.is_empty(), names.first()) {
        (true, Some(name)) => name.bare(),
        (true, None) => holder.key.fingerprint().to_string(),
        (false, _) => holder.comment,
    };
    let directory = Directory::lock(&args.dir, "issue")?;
    let subject = Subject { key: holder.key, common_name, names };
    make(&directory, subject, args.hours, &args.out)
}

/// Makes a certificate for the key and the names of an earlier one.
pub fn renew(args: &RenewArgs) -> Result<u8, Report> {
    let directory = Directory::lock(&args.dir, "renew")?;
    let (old, file) = find(&directory, &args.which)?;
    let Some(out) = args.out.clone().or(file) else {
        return Err(Report::usage(
            "a certificate that is named by its serial number needs --out: where the new one goes",
        ));
    };
    let serial = old.serial().ok_or_else(|| Report::new(IO, "a certificate without a serial number", None))?;
    if let Some(entry) = Revoked::load(&directory)?.find(serial) {
        let message = format!("{serial} was revoked at {} ({}), and is not renewed", entry.time, entry.reason.name());
        return Err(Report::new(IO, message, Some("make another one with `countersign ca issue`, for a new key")));
    }
    let damaged = |why: String| Report::new(IO, format!("the certificate {serial} can't be renewed: {why}"), None);
    let names = old.names().map_err(damaged)?;
    let subject = Subject { key: old.key().map_err(damaged)?, common_name: old.common_name(), names };
    let length = old.not_after().since(old.not_before()).saturating_sub(SKEW);
    make(&directory, subject, args.hours.unwrap_or(length.div_ceil(HOUR).max(1)), &out)
}

/// Finds an issued certificate by its number or its file, and says which file it was.
pub fn find(directory: &Directory, which: &Path) -> Result<(Parsed, Option<PathBuf>), Report> {
    let shown = which.display();
    let unknown =
        |message: String| Report::new(IO, message, Some("`countersign ca list DIR` shows what this CA issued"));
    if !which.exists() {
        let Some(serial) = which.to_str().and_then(Serial::parse) else {
            return Err(unknown(format!("{shown}: there is no such file, and a serial number has 32 hex digits")));
        };
        let found = directory.recorded(serial)?;
        let found = found.ok_or_else(|| unknown(format!("no certificate {serial} was issued by this CA")))?;
        return Ok((found, None));
    }
    let given = Parsed::read_chain(which)?.into_iter().next();
    let given = given.ok_or_else(|| unknown(format!("{shown}: no certificate")))?;
    let recorded = given.serial().map(|serial| directory.recorded(serial)).transpose()?.flatten();
    match recorded {
        Some(recorded) if recorded.der() == given.der() => Ok((recorded, Some(which.to_path_buf()))),
        _ => Err(unknown(format!("{shown}: its first certificate was not issued by this CA"))),
    }
}

/// Whom a certificate is about.
struct Subject {
    key: countersign::PublicKey,
    common_name: String,
    names: Vec<AltName>,
}

fn make(directory: &Directory, subject: Subject, hours: u64, out: &Path) -> Result<u8, Report> {
    let output = Output::check(out, directory.path(), "CERTIFICATE")?;
    let authority = Authority::load(directory)?;
    Revoked::load(directory)?.check_key(directory, &subject.key)?;
    let (now, root) = (Moment::now()?, authority.certificate());
    if root.key().is_ok_and(|key| key == subject.key) {
        let hint = "make another key with `countersign keygen`";
        return Err(Report::new(IO, "this is the key of the CA itself, which does nothing but sign", Some(hint)));
    }
    if now >= root.not_after() || now < root.not_before() {
        let message = format!(
            "the certificate of the CA is valid from {} to {}, and it is {now}",
            root.not_before(),
            root.not_after()
        );
        return Err(Report::new(
            IO,
            message,
            Some("is the clock right? If so, make a new CA with `countersign ca init`"),
        ));
    }
    let wanted = now.after(hours.saturating_mul(HOUR));
    if wanted > root.not_after() {
        log::line(format!(
            "warning: the certificate of the CA ends at {}, and so does this one, earlier than {hours} h from now",
            root.not_after()
        ));
    }
    let leaf = Leaf {
        serial: Serial::random()?,
        key: subject.key,
        common_name: common_name(&subject.common_name),
        names: subject.names,
        not_before: now.before(SKEW).max(root.not_before()),
        not_after: wanted.min(root.not_after()),
    };
    let (certificate, chain) = authority.issue(&leaf)?;
    directory.record(leaf.serial, &certificate.pem())?;
    output.write(&chain).map_err(|report| report.with_hint(ON_RECORD))?;
    print(&format!(
        "serial     {}\nsubject    {}\nnames      {}\nnot after  {}\nkey        {}\nchain      {}\n",
        leaf.serial,
        leaf.common_name.escape_debug(),
        line(&leaf.names),
        leaf.not_after,
        leaf.key.fingerprint(),
        out.display(),
    ))
}

/// What fits in a certificate: 64 characters that can be shown.
fn common_name(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).take(64).collect()
}

/// Clocks that are behind by so much take a new certificate nevertheless.
pub const SKEW: u64 = 300;
const HOUR: u64 = 3_600;
const ON_RECORD: &str =
    "the certificate is on record all the same, `countersign ca list` shows it last; give --out another place";
