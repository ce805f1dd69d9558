//! `ca revoke` and `ca crl`. A revocation is said to be done when it is on disk. The number of a list is on disk before
//! the list is signed: after a crash a number may be missing, and never is one used twice.

use std::fs;

use super::args::{CRL_DAYS, CrlArgs, RevokeArgs};
use super::authority::Authority;
use super::directory::{CRL, CRL_NUMBER, Directory};
use super::files::{self, Output};
use super::init::DAY;
use super::issue::find;
use super::moment::Moment;
use super::revoked::{Entry, Revoked};
use crate::keys::print;
use crate::log;
use crate::report::{IO, Report};

/// Revokes a certificate, and makes the list in the directory anew.
pub fn revoke(args: &RevokeArgs) -> Result<u8, Report> {
    let directory = Directory::lock(&args.dir, "revoke")?;
    let (certificate, _) = find(&directory, &args.which)?;
    let serial = certificate.serial().ok_or_else(|| Report::new(IO, "a certificate without a serial number", None))?;
    let mut revoked = Revoked::load(&directory)?;
    let told = match revoked.find(serial) {
        // The one before may have been stopped before it made the list.
        Some(Entry { time, reason, .. }) => {
            print(&format!("{serial} is revoked already, since {time} ({})\n", reason.name()))
        }
        None => {
            revoked.add(&directory, Entry { serial, time: Moment::now()?, reason: args.reason })?;
            let name = certificate.common_name();
            print(&format!("revoked {serial} ({}, {})\n", name.escape_debug(), args.reason.name()))
        }
    };
    // Whether anybody reads what we print or not.
    let (number, _) = make_list(&directory, &revoked, CRL_DAYS).map_err(|report| report.with_hint(AGAIN))?;
    told?;
    let shown = args.dir.display();
    print(&format!(
        "made {shown}/{CRL}, number {number}; peers refuse the certificate once they have it\n\
         to publish it elsewhere as well: countersign ca crl {shown} --out FILE\n"
    ))
}

/// Makes a revocation list.
pub fn crl(args: &CrlArgs) -> Result<u8, Report> {
    let directory = Directory::lock(&args.dir, "crl")?;
    let own = directory.file(CRL);
    // Its usual place may be given as well.
    let is_own = |out: &std::path::Path| {
        let folders = (fs::canonicalize(files::folder_of(out)), fs::canonicalize(directory.path()));
        matches!(folders, (Ok(out), Ok(own)) if out == own) && out.file_name() == own.file_name()
    };
    let elsewhere = args.out.as_deref().filter(|out| !is_own(out));
    let output = elsewhere.map(|out| Output::check(out, directory.path(), "X509 CRL")).transpose()?;
    let revoked = Revoked::load(&directory)?;
    let (number, list) = make_list(&directory, &revoked, args.days)?;
    if let Some(output) = output {
        output.write(&list.pem)?;
    }
    let shown = elsewhere.unwrap_or(&own).display();
    print(&format!(
        "made {shown}, number {number}, with {} revoked\nnext update {}: make and publish another one before\n",
        list.entries, list.next_update
    ))
}

struct List {
    pem: String,
    entries: usize,
    next_update: Moment,
}

fn make_list(directory: &Directory, revoked: &Revoked, days: u64) -> Result<(u64, List), Report> {
    let authority = Authority::load(directory)?;
    let now = Moment::now()?;
    let next_update = now.after(days.saturating_mul(DAY));
    let end = authority.certificate().not_after();
    if next_update > end {
        log::line(format!("warning: the certificate of the CA ends at {end}: nobody takes this list after that"));
    }
    let entries = revoked.to_params()?;
    let count = entries.len();
    let number = next_number(directory)?;
    let pem = authority.revocation_list(number, entries, now, next_update)?;
    files::replace(&directory.file(CRL), pem.as_bytes(), 0o644)?;
    Ok((number, List { pem, entries: count, next_update }))
}

fn next_number(directory: &Directory) -> Result<u64, Report> {
    let path = directory.file(CRL_NUMBER);
    let text = files::read_text(&path).map_err(|report| report.with_hint(REPAIR_NUMBER))?;
    let number = text.trim().parse::<u64>().ok().and_then(|number| number.checked_add(1)).ok_or_else(|| {
        let message = format!("{}: expected a number, and found {:?}", path.display(), text.trim());
        Report::new(IO, message, Some(REPAIR_NUMBER))
    })?;
    files::replace(&path, format!("{number}\n").as_bytes(), 0o600)?;
    Ok(number)
}

const AGAIN: &str = "the revocation itself is on record; when this is repaired, `countersign ca crl` makes the list";
const REPAIR_NUMBER: &str = "write the number of the newest list that was published into crl-number; `openssl crl -in \
ca.crl -noout -crlnumber` shows it, in hex";
