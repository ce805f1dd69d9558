//! `ca`: a certificate authority in a directory that a person can read. What got out of it is on record before it got
//! out, and what it said is done survives a crash; each file says how.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

pub mod args;
mod authority;
mod certificate;
mod directory;
mod files;
pub use files::replace;
mod init;
mod issue;
mod list;
pub mod moment;
mod names;
mod request;
mod revoke;
mod revoked;

use rand_core::TryRng;

use crate::report::{IO, Report};
use args::{CaArgs, CaCommand};

/// Runs one of the commands.
pub fn run(args: &CaArgs) -> Result<u8, Report> {
    match &args.command {
        CaCommand::Init(args) => init::run(args),
        CaCommand::Issue(args) => issue::issue(args),
        CaCommand::Renew(args) => issue::renew(args),
        CaCommand::Revoke(args) => revoke::revoke(args),
        CaCommand::Crl(args) => revoke::crl(args),
        CaCommand::List(args) => list::run(args),
    }
}

/// Fills with randomness of the system.
fn fill_random(bytes: &mut [u8]) -> Result<(), Report> {
    let filled = getrandom::SysRng.try_fill_bytes(bytes);
    filled.map_err(|error| Report::new(IO, format!("the system gave no randomness: {error}"), None))
}

fn random_hex() -> Result<String, Report> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
