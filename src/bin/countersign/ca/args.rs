//! The command line of `ca`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::names::{AltName, dns_name, uri};
use super::revoked::Reason;

/// A certificate authority in a directory of plain files: makes certificates for Ed25519 keys, renews and revokes them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CaArgs {
    #[command(subcommand)]
    pub command: CaCommand,
}

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    Init(InitArgs),
    Issue(IssueArgs),
    Renew(RenewArgs),
    Revoke(RevokeArgs),
    Crl(CrlArgs),
    List(ListArgs),
}

/// Make a CA: DIR/ca.pem is its certificate, for all who trust it; DIR/ca.key is its secret key. Never overwrites.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The directory of the CA; it is made if it is not there.
    pub dir: PathBuf,
    /// Name of the CA, in its certificate and in all that it issues.
    #[arg(long, value_name = "NAME", value_parser = ca_name)]
    pub name: String,
    /// How long the certificate of the CA is valid.
    #[arg(long, value_name = "N", default_value_t = 3_650, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub days: u64,
    /// A secret key that exists, PKCS#8 in PEM (openssl genpkey): Ed25519, ECDSA P-256 or P-384, RSA. It is copied to
    /// DIR/ca.key. Without it a new Ed25519 key is made.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// So many CAs may stand between this one and the certificates of peers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub path_len: u8,
}

/// Make a certificate for a public key; the secret key stays where it is.
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// The directory of the CA.
    pub dir: PathBuf,
    /// Whose certificate: a file with a public line `ssh-ed25519 AAAA... name`, as `countersign keygen` writes it, or a
    /// PKCS#10 request in PEM (openssl req -new), whose key has to be Ed25519.
    #[arg(long = "for", value_name = "KEY.pub|REQUEST.csr")]
    pub subject: PathBuf,
    #[command(flatten)]
    pub names: NamesArgs,
    /// How long it is valid.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = hours())]
    pub hours: u64,
    /// Where the chain goes: the certificate first. A file with certificates that is there is replaced, whole or not at
    /// all.
    #[arg(long, value_name = "CHAIN.pem")]
    pub out: PathBuf,
}

/// What the certificate says of its holder. Without any of these, a request's own names are taken, and printed.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// A host name such as db.example.org, or *.example.org. May be repeated.
    #[arg(long, value_name = "NAME", value_parser = dns_name)]
    pub dns: Vec<String>,
    /// An address. May be repeated.
    #[arg(long, value_name = "ADDR")]
    pub ip: Vec<IpAddr>,
    /// A URI such as spiffe://example.org/db. May be repeated.
    #[arg(long, value_name = "URI", value_parser = uri)]
    pub uri: Vec<String>,
}

impl NamesArgs {
    pub fn all(&self) -> Vec<AltName> {
        let dns = self.dns.iter().cloned().map(AltName::Dns);
        let ip = self.ip.iter().copied().map(AltName::Ip);
        let uri = self.uri.iter().cloned().map(AltName::Uri);
        dns.chain(ip).chain(uri).collect()
    }
}

/// Make a new certificate for the key and the names of one that this CA issued and did not revoke.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// The directory of the CA.
    pub dir: PathBuf,
    /// Which one: its chain file, or its serial number.
    #[arg(value_name = "CHAIN.pem|SERIAL")]
    pub which: PathBuf,
    /// How long the new one is valid [default: as long as the old one].
    #[arg(long, value_name = "N", value_parser = hours())]
    pub hours: Option<u64>,
    /// Where the new chain goes [default: CHAIN.pem, which is replaced, whole or not at all].
    #[arg(long, value_name = "CHAIN.pem")]
    pub out: Option<PathBuf>,
}

/// Revoke a certificate, for good. DIR/ca.crl is made anew; peers learn of it when they have that file, or one that
/// `ca crl` makes.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The directory of the CA.
    pub dir: PathBuf,
    /// Which one: its serial number, as `ca list` shows it, or its chain file.
    #[arg(value_name = "SERIAL|CHAIN.pem")]
    pub which: PathBuf,
    /// Why. A key that was revoked with key-compromise gets no certificate again.
    #[arg(long, value_enum, value_name = "REASON", default_value_t = Reason::Unspecified)]
    pub reason: Reason,
}

/// Publish what is revoked: make a revocation list (CRL) with the next number, in DIR/ca.crl and in FILE.
#[derive(Debug, Args)]
pub struct CrlArgs {
    /// The directory of the CA.
    pub dir: PathBuf,
    /// A second place for the list, such as where services read it; replaced whole or not at all.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How long the list counts as fresh: the next one has to be there before.
    #[arg(long, value_name = "N", default_value_t = CRL_DAYS, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    pub days: u64,
}

/// Show every certificate that was issued, the newest last: serial number, state, end of validity, key, names.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The directory of the CA.
    pub dir: PathBuf,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// How long a revocation list is fresh that `ca revoke` makes.
pub const CRL_DAYS: u64 = 7;

fn hours() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=2 * 8_760)
}

fn ca_name(name: &str) -> Result<String, String> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > 64 || name.chars().any(char::is_control) {
        return Err("expected a name of 1 to 64 characters, such as \"Example CA\"".to_string());
    }
    Ok(name.to_string())
}

const EXAMPLE: &str = "From nothing to a certificate:
  countersign ca init my-ca --name \"My CA\"
  countersign keygen --out alice.key
  countersign ca issue my-ca --for alice.key.pub --dns alice.example.org --out alice.pem
The README in the directory says what each file is.";
