//! `ca init`. The certificate of the CA is written last: a directory without it is no CA, and nothing came from it.

use std::fs;
use std::path::Path;

use base64ct::{Base64, Encoding};
use countersign::identity::create_file;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SerialNumber};
use zeroize::Zeroizing;

use super::args::InitArgs;
use super::authority::read_key;
use super::certificate::{Parsed, Serial};
use super::directory::{CERTIFICATE, CRL_NUMBER, Directory, ISSUED, KEY, LOCK, README, REVOKED};
use super::moment::Moment;
use super::{files, fill_random};
use crate::keys::print;
use crate::report::{IO, Report};

/// Makes a CA.
pub fn run(args: &InitArgs) -> Result<u8, Report> {
    let dir = &args.dir;
    let shown = dir.display();
    // Before anything is made: a wrong key leaves no half of a CA behind.
    let own = args.key.as_deref().map(|path| Ok::<_, Report>((read_key(path)?, files::read(path)?))).transpose()?;
    let (key, text) = match own {
        Some(own) => own,
        None => new_key()?,
    };
    let now = Moment::now()?;
    let certificate = root(args, &key, now)?;
    check_free(dir)?;
    make_directory(dir).map_err(|error| Report::io(format!("can't make {shown}"), &error))?;
    let directory = Directory::lock_new(dir)?;
    // Another one may have been faster.
    check_free(dir)?;
    let issued = directory.file(ISSUED);
    make_directory(&issued).map_err(|error| Report::io(format!("can't make {}", issued.display()), &error))?;
    files::replace(&directory.file(README), README_TEXT.as_bytes(), 0o644)?;
    files::replace(&directory.file(REVOKED), super::revoked::HEADER.as_bytes(), 0o600)?;
    files::replace(&directory.file(CRL_NUMBER), b"0\n", 0o600)?;
    let key_path = directory.file(KEY);
    create_file(&key_path, &text, 0o600)
        .map_err(|error| Report::io(format!("can't write {}", key_path.display()), &error))?;
    files::replace(&directory.file(CERTIFICATE), certificate.pem().as_bytes(), 0o644)?;
    // The directory itself, in the one where it is.
    if let Some(parent) = fs::canonicalize(dir).ok().as_deref().and_then(Path::parent) {
        files::sync_folder(parent).map_err(|error| Report::io(format!("can't sync {}", parent.display()), &error))?;
    }
    print(&format!(
        "made the CA {:?} in {shown}, valid until {}\n\
         give {shown}/{CERTIFICATE} to all who shall trust it; {shown}/{KEY} is secret and never leaves this machine\n\
         next: countersign ca issue {shown} --for alice.key.pub --dns alice.example.org --out alice.pem\n",
        args.name,
        certificate.not_after(),
    ))
}

fn root(args: &InitArgs, key: &KeyPair, now: Moment) -> Result<Parsed, Report> {
    let mut params = CertificateParams::default();
    params.not_before = now.before(super::issue::SKEW).to_date()?;
    params.not_after = now.after(args.days.saturating_mul(DAY)).to_date()?;
    params.serial_number = Some(SerialNumber::from_slice(Serial::random()?.bytes()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, args.name.as_str());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(args.path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params.self_signed(key);
    let signed = signed.map_err(|error| Report::new(IO, format!("the CA could not sign: {error}"), None))?;
    Parsed::new(signed.into()).map_err(|why| Report::new(IO, why, None))
}

/// A new Ed25519 key and its PEM, in the first version of PKCS#8, which every program reads.
fn new_key() -> Result<(Zeroizing<KeyPair>, Zeroizing<Vec<u8>>), Report> {
    let mut der = Zeroizing::new([0; 48]);
    let (head, seed) = der.split_at_mut(PKCS8_ED25519.len());
    head.copy_from_slice(&PKCS8_ED25519);
    fill_random(seed)?;
    let key = KeyPair::try_from(der.as_slice());
    let key = key.map_err(|error| Report::new(IO, format!("no key could be made: {error}"), None))?;
    let base64 = Zeroizing::new(Base64::encode_string(der.as_slice()));
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *base64);
    Ok((Zeroizing::new(key), Zeroizing::new(text.into_bytes())))
}

/// The directory is not there, is empty, or is what an `init` left behind that was stopped before it made a key.
fn check_free(dir: &Path) -> Result<(), Report> {
    let shown = dir.display();
    if dir.join(CERTIFICATE).symlink_metadata().is_ok() {
        let hint = "use it with `countersign ca issue`, or choose another directory";
        return Err(Report::new(IO, format!("{shown} is a CA already, and is not overwritten"), Some(hint)));
    }
    if dir.join(KEY).symlink_metadata().is_ok() {
        let message = format!("{shown} has a {KEY} and no {CERTIFICATE}, and is not overwritten");
        return Err(Report::new(
            IO,
            message,
            Some("if an `init` was stopped there, nothing was issued yet: remove the directory, and do it again"),
        ));
    }
    let known = |name: &str| [ISSUED, LOCK, README, REVOKED, CRL_NUMBER].contains(&name) || files::is_left_over(name);
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Report::io(format!("can't use {shown}"), &error)),
        Ok(entries) => match entries.flatten().find(|entry| !known(&entry.file_name().to_string_lossy())) {
            None => Ok(()),
            Some(entry) => {
                let found = entry.file_name();
                let message = format!("{shown} is not empty: there is {:?}", found.to_string_lossy());
                Err(Report::new(IO, message, Some("choose a new directory for the CA")))
            }
        },
    }
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => close_directory(path),
        made => made,
    }
}

#[cfg(unix)]
fn close_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn close_directory(_: &Path) -> std::io::Result<()> {
    Ok(())
}

pub const DAY: u64 = 86_400;
/// What comes before the 32 secret bytes (RFC 8410).
const PKCS8_ED25519: [u8; 16] = [0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20];

const README_TEXT: &str = "\
This directory is a certificate authority (CA), made by `countersign ca init`. All of it is text.

ca.pem      the certificate of the CA; give it to all who shall trust what the CA signs
ca.key      the secret key of the CA; whoever has it can sign in its name. Keep it here, and one copy in a safe place.
issued/     every certificate that was issued, SERIAL.pem; it is written before the certificate is given out
revoked     what was revoked, one line each: SERIAL TIME REASON
crl-number  the number of the newest revocation list; it only grows
ca.crl      the newest revocation list (CRL); services that check for revoked certificates need it, and a new one
            before it is out of date
lock        held while a command changes something; it may stay, and never has to be removed

Look into it: countersign ca list DIR; openssl x509 -in FILE -noout -text; openssl crl -in ca.crl -noout -text
A copy of the whole directory is a backup. After going back to an old one, certificates issued since are not on record,
and crl-number has to be set to at least the number of the newest list that was published.
";
