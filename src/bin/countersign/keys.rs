//! `keygen`, `id`, and how identities and peers are loaded.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use countersign::crypto::network::NetworkKey;
use countersign::identity::{
    Identity, KeyFileError, PeerId, PublicKey, create_file, parse_line, read_network_key, save_network_key,
};
use getrandom::SysRng;
use zeroize::Zeroizing;

use crate::args::{IdArgs, KeygenArgs};
use crate::report::{IO, Report};

/// A passphrase; wiped when dropped.
type Passphrase = Zeroizing<Vec<u8>>;

/// Makes FILE and FILE.pub, or a network key.
pub fn keygen(args: &KeygenArgs) -> Result<u8, Report> {
    if args.network {
        return network_keygen(&args.out);
    }
    let public_path = with_pub(&args.out);
    for path in [&args.out, &public_path] {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
    }
    let passphrase = match &args.passphrase_file {
        Some(path) => Some(read_passphrase(path)?),
        None if args.ask_passphrase => Some(ask_new_passphrase()?),
        None => None,
    };
    let name = args.out.file_stem().unwrap_or_default().to_string_lossy();
    let comment = args.comment.as_deref().unwrap_or(&name);
    let identity = Identity::generate().map_err(|error| Report::new(IO, error, None))?.with_comment(comment);
    let saved = identity.save(&args.out, passphrase.as_ref().map(|p| p.as_slice()));
    saved.map_err(|error| not_written(&args.out, error))?;
    let line = format!("{} {}", identity.public_key(), identity.comment());
    let written = create_file(&public_path, format!("{}\n", line.trim_end()).as_bytes(), 0o644);
    written.map_err(|error| {
        // Half a pair is worse than none.
        let _ = fs::remove_file(&args.out);
        not_written(&public_path, KeyFileError::Io(error))
    })?;
    print(&format!("{} {}\n", identity.public_key().fingerprint(), identity.comment()))
}

fn network_keygen(out: &Path) -> Result<u8, Report> {
    let key = NetworkKey::generate_with(&mut SysRng).map_err(|error| Report::new(IO, error, None))?;
    save_network_key(&key, out).map_err(|error| not_written(out, error))?;
    print(&format!(
        "{file}: a network key, readable by you only\n\
         copy it to every machine of the network over a channel that nobody listens to (scp), and give all of them\n\
         --network-key {file}: a `serve` with it answers nobody who does not have it\n",
        file = out.display()
    ))
}

/// Loads a network key.
pub fn load_network_key(path: &Path) -> Result<NetworkKey, Report> {
    read_network_key(path).map_err(|error| {
        let hint = match &error {
            KeyFileError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Some(
                "make one with `countersign keygen --network --out FILE`, and copy it to every machine of the network",
            ),
            _ => None,
        };
        Report::new(IO, format!("can't use the network key {}: {error}", path.display()), hint)
    })
}

/// Shows the public line, the fingerprint and, if wanted, the picture.
pub fn id(args: &IdArgs) -> Result<u8, Report> {
    let path = &args.file;
    let text = fs::read(path).map_err(|error| Report::io(format!("can't read {}", path.display()), &error))?;
    let text = Zeroizing::new(text);
    let is_private = text.trim_ascii_start().starts_with(b"-----BEGIN");
    let keys = if is_private {
        let identity = load_identity(path, args.passphrase_file.as_deref())?;
        vec![(identity.public_key(), identity.comment().to_string())]
    } else {
        let text = std::str::from_utf8(&text).map_err(|_| not_a_key(path, "not a text file"))?;
        parse_lines(path, text)?
    };
    let mut output = String::new();
    for (key, comment) in keys {
        let comment = comment.escape_debug();
        output.push_str(format!("{key} {comment}").trim_end());
        output.push_str(&format!("\n{}\n", key.fingerprint()));
        if args.art {
            output.push_str(&format!("{}\n", key.randomart()));
        }
    }
    print(&output)
}

/// Loads a private key, and asks for its passphrase if it has one.
pub fn load_identity(path: &Path, passphrase_file: Option<&Path>) -> Result<Identity, Report> {
    load_with(path, || match passphrase_file {
        Some(file) => read_passphrase(file),
        None => ask(&format!("Passphrase of {}: ", path.display())),
    })
}

/// Loads a private key, and asks nobody.
pub fn quiet_identity(path: &Path, passphrase_file: Option<&Path>) -> Result<Identity, Report> {
    load_with(path, || match passphrase_file {
        Some(file) => read_passphrase(file),
        None => Err(Report::new(IO, format!("the private key {} has a passphrase", path.display()), None)),
    })
}

fn load_with(path: &Path, passphrase: impl FnOnce() -> Result<Passphrase, Report>) -> Result<Identity, Report> {
    let loaded = match Identity::from_file(path) {
        Err(KeyFileError::PassphraseNeeded) => Identity::from_file_with_passphrase(path, &passphrase()?),
        loaded => loaded,
    };
    loaded.map_err(|error| {
        let hint = match &error {
            KeyFileError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Some("make one with `countersign keygen --out FILE`")
            }
            _ => None,
        };
        Report::new(IO, format!("can't use the private key {}: {error}", path.display()), hint)
    })
}

/// Understands WHO, the value of an option: a public line, a fingerprint, or a file with one public line.
pub fn parse_who(option: &str, who: &str) -> Result<PeerId, Report> {
    let Some(path) = who_file(who).map(Path::new) else {
        return who.parse().map_err(|error| Report::usage(format!("{option} {who:?}: {error}")));
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Report::new(
            IO,
            format!("can't read {option} {}: {error}", path.display()),
            Some("WHO is a line `ssh-ed25519 AAAA...`, a .pub file, or a fingerprint `SHA256:...`"),
        )
    })?;
    match parse_lines(path, &text)?.as_slice() {
        [(key, _)] => Ok(PeerId::Key(*key)),
        keys => {
            let path = path.display();
            Err(Report::usage(format!("{option} {path}: expected one public line, found {}", keys.len())))
        }
    }
}

/// The file that WHO names, if it is no public line or fingerprint itself.
pub fn who_file(who: &str) -> Option<&str> {
    let direct = who.trim_start();
    (!direct.starts_with("SHA256:") && !direct.starts_with("ssh-")).then_some(who)
}

fn parse_lines(path: &Path, text: &str) -> Result<Vec<(PublicKey, String)>, Report> {
    let lines = text.lines().enumerate().map(|(index, line)| (index, line.trim()));
    let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    keys.map(|(index, line)| match parse_line(line) {
        Ok((key, comment)) => Ok((key, comment.to_string())),
        Err(error) => Err(not_a_key(path, &format!("line {}: {error}", index + 1))),
    })
    .collect()
}

fn not_a_key(path: &Path, why: &str) -> Report {
    Report::new(IO, format!("{}: {why}", path.display()), None)
}

fn not_written(path: &Path, error: KeyFileError) -> Report {
    match error {
        KeyFileError::Io(error) if error.kind() == std::io::ErrorKind::AlreadyExists => exists(path),
        error => Report::new(IO, format!("can't write {}: {error}", path.display()), None),
    }
}

fn exists(path: &Path) -> Report {
    Report::new(
        IO,
        format!("{} exists, and is not overwritten", path.display()),
        Some("choose another name, or move the old file away"),
    )
}

fn with_pub(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// The first line of a file.
fn read_passphrase(path: &Path) -> Result<Passphrase, Report> {
    let text = fs::read(path).map_err(|error| Report::io(format!("can't read {}", path.display()), &error))?;
    let text = Zeroizing::new(text);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Report::new(IO, format!("{}: the passphrase is empty", path.display()), None));
    }
    Ok(Zeroizing::new(line.to_vec()))
}

fn ask(prompt: &str) -> Result<Passphrase, Report> {
    let hint = Some("run it in a terminal, or give --passphrase-file");
    if !std::io::stderr().is_terminal() && !Path::new("/dev/tty").exists() {
        return Err(Report::new(IO, "the key is encrypted, and there is no terminal to ask for its passphrase", hint));
    }
    let text = rpassword::prompt_password(prompt)
        .map_err(|error| Report::new(IO, format!("can't ask for the passphrase: {error}"), hint))?;
    Ok(Zeroizing::new(text.into_bytes()))
}

fn ask_new_passphrase() -> Result<Passphrase, Report> {
    let first = ask("New passphrase: ")?;
    if first.is_empty() {
        return Err(Report::usage("the passphrase is empty"));
    }
    if *first != *ask("The same again: ")? {
        return Err(Report::usage("the two passphrases differ"));
    }
    Ok(first)
}

/// Prints on standard output.
pub fn print(text: &str) -> Result<u8, Report> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map(|()| 0)
        .map_err(|error| Report::io("standard output", &error))
}
