//! Key files as real tools write them: ssh-keygen and openssl. Both are needed on the machine that runs the tests.
#![allow(missing_docs)]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::identity::{Identity, KeyFileError, PublicKey, create_file};
use countersign::trust::TrustFile;
use tempfile::TempDir;

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path")
}

fn ssh_keygen(folder: &TempDir, passphrase: &str) -> (PathBuf, PublicKey) {
    let file = folder.path().join("id");
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", passphrase, "-C", "user@host", "-f", path(&file)]);
    let public = fs::read_to_string(file.with_extension("pub")).expect("public key").parse().expect("a key");
    (file, public)
}

fn private(file: &Path, text: &str) {
    create_file(file, text.as_bytes(), 0o600).expect("written");
}

/// As ssh-keygen writes them, without and with a passphrase; and ssh-keygen reads what we write.
#[test]
fn openssh_keys() {
    let folder = TempDir::new().expect("folder");
    let (file, public) = ssh_keygen(&folder, "");
    let identity = Identity::from_file(&file).expect("identity");
    assert_eq!((identity.public_key(), identity.comment()), (public, "user@host"));
    let shown = tool("ssh-keygen", &["-l", "-f", path(&file)]);
    assert!(shown.contains(&public.fingerprint().to_string()), "{shown}");
    let art = tool("ssh-keygen", &["-lv", "-f", path(&file)]);
    assert!(art.contains(identity.public_key().randomart().trim_end()), "{art}");

    for passphrase in [None, Some("correct horse")] {
        let copy = folder.path().join(format!("copy{}", passphrase.is_some()));
        identity.save(&copy, passphrase.map(str::as_bytes)).expect("saved");
        assert_eq!(fs::metadata(&copy).expect("metadata").permissions().mode() & 0o777, 0o600);
        let line = tool("ssh-keygen", &["-y", "-P", passphrase.unwrap_or(""), "-f", path(&copy)]);
        assert_eq!(line.parse::<PublicKey>().expect("a key"), public);
        let again = Identity::from_file_with_passphrase(&copy, passphrase.unwrap_or("ignored").as_bytes());
        assert_eq!(again.expect("identity").public_key(), public);
        assert!(matches!(identity.save(&copy, None), Err(KeyFileError::Io(_))), "overwritten");
    }
}

/// A passphrase is asked for, and a wrong one is told from a damaged file.
#[test]
fn openssh_keys_with_passphrase() {
    let folder = TempDir::new().expect("folder");
    let (file, public) = ssh_keygen(&folder, "correct horse");
    assert!(matches!(Identity::from_file(&file), Err(KeyFileError::PassphraseNeeded)));
    let wrong = Identity::from_file_with_passphrase(&file, b"wrong");
    assert!(matches!(wrong, Err(KeyFileError::WrongPassphrase)), "{wrong:?}");
    let right = Identity::from_file_with_passphrase(&file, b"correct horse").expect("identity");
    assert_eq!(right.public_key(), public);
}

/// PKCS#8 version 1 as `openssl genpkey` writes it, and version 2, with the public half in it.
#[test]
fn pkcs8_keys() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("v1.pem");
    tool("openssl", &["genpkey", "-algorithm", "ed25519", "-out", path(&file)]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
    let identity = Identity::from_file(&file).expect("version 1");
    let der = folder.path().join("public.der");
    tool("openssl", &["pkey", "-in", path(&file), "-pubout", "-outform", "DER", "-out", path(&der)]);
    assert!(fs::read(&der).expect("public key").ends_with(identity.public_key().as_bytes()));

    // Version 2 (RFC 5958): version 1, then [1] with the public key as a bit string.
    let private_der = folder.path().join("private.der");
    tool("openssl", &["pkey", "-in", path(&file), "-outform", "DER", "-out", path(&private_der)]);
    let v1 = fs::read(&private_der).expect("private key");
    for (damage, good) in [(0, true), (1, false)] {
        let mut v2 = vec![0x30, 0x51, 0x02, 0x01, 0x01];
        v2.extend_from_slice(&v1[5..]);
        v2.extend_from_slice(&[0x81, 0x21, 0x00]);
        v2.extend_from_slice(identity.public_key().as_bytes());
        *v2.last_mut().expect("a byte") ^= damage;
        let (der, pem) =
            (folder.path().join(format!("v2-{damage}.der")), folder.path().join(format!("v2-{damage}.pem")));
        fs::write(&der, &v2).expect("written");
        let base64 = tool("openssl", &["base64", "-in", path(&der)]);
        private(&pem, &format!("-----BEGIN PRIVATE KEY-----\n{base64}-----END PRIVATE KEY-----\n"));
        match Identity::from_file(&pem) {
            Ok(loaded) => assert!(good && loaded.public_key() == identity.public_key()),
            // The public half is never taken from the file; a wrong one means that the file is damaged.
            Err(error) => assert!(!good && matches!(error, KeyFileError::Damaged(_)), "{error}"),
        }
    }
}

/// A private key that others can read is refused, as ssh does, whatever the bit.
#[test]
fn files_that_others_can_read_are_refused() {
    let folder = TempDir::new().expect("folder");
    let (file, _) = ssh_keygen(&folder, "");
    for mode in [0o604, 0o640, 0o644, 0o660, 0o620, 0o602, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
        let refused = Identity::from_file(&file);
        assert!(matches!(refused, Err(KeyFileError::Permissions(found)) if found == mode), "{mode:o}");
        assert!(refused.expect_err("refused").to_string().contains("chmod 600"));
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
        Identity::from_file(&file).expect("private enough");
    }
}

/// What is not an Ed25519 private key is refused with a reason, never with a panic.
#[test]
fn other_files_are_refused() {
    let folder = TempDir::new().expect("folder");
    let make = |name: &str, program: &str, args: &[&str]| {
        let file = folder.path().join(name);
        let mut args = args.to_vec();
        args.push(path(&file));
        tool(program, &args);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
        file
    };
    let others = [
        make("rsa", "openssl", &["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]),
        make("ec", "openssl", &["genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]),
        make("x25519", "openssl", &["genpkey", "-algorithm", "x25519", "-out"]),
        make("encrypted", "openssl", &["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out"]),
        make("ssh-ecdsa", "ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-f"]),
    ];
    for file in others {
        let error = Identity::from_file(&file).expect_err("refused");
        assert!(matches!(error, KeyFileError::Unsupported(_) | KeyFileError::Damaged(_)), "{file:?}: {error}");
    }
    for (name, text) in [
        ("empty", ""),
        ("public", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti x"),
        ("cut", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"),
        ("cut2", "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n"),
    ] {
        let file = folder.path().join(name);
        private(&file, text);
        let error = Identity::from_file(&file).expect_err("refused");
        assert!(matches!(error, KeyFileError::Unsupported(_) | KeyFileError::Damaged(_)), "{name}: {error}");
    }
    assert!(matches!(
        Identity::from_file(folder.path()),
        Err(KeyFileError::Permissions(_) | KeyFileError::Unsupported(_))
    ));
    let text = fs::read_to_string(ssh_keygen(&folder, "").0).expect("key");
    // Every byte of a good file changed: a key of the same public half, or an error.
    let good = Identity::from_pem(&text, None).expect("identity").public_key();
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        if let Ok(Ok(identity)) = String::from_utf8(changed).map(|text| Identity::from_pem(&text, None)) {
            assert_eq!(identity.public_key(), good, "byte {at}");
        }
    }
}

/// Secrets are not shown.
#[test]
fn identities_do_not_print_secrets() {
    let identity = Identity::from_seed(&mut [7; 32]).expect("an identity");
    let shown = format!("{identity:?}");
    assert_eq!(shown, format!("Identity({})", identity.public_key().fingerprint()));
}

/// A trust file is read as a whole; its first bad line is named; one that anyone can write is refused.
#[test]
fn trust_files() {
    let folder = TempDir::new().expect("folder");
    let (_, public) = ssh_keygen(&folder, "");
    let file = folder.path().join("trust");
    fs::write(&file, format!("# friends\n\n{public} alice\n")).expect("written");
    assert_eq!(TrustFile::open(&file).expect("trust").len(), 1);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).expect("permissions");
    assert!(TrustFile::open(&file).expect_err("writable").to_string().contains("chmod o-w"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
    fs::write(&file, format!("{public} alice\nssh-rsa AAAA bob\n")).expect("written");
    let error = TrustFile::open(&file).expect_err("bad line").to_string();
    assert!(error.contains("line 2") && error.contains("ssh-ed25519"), "{error}");
    fs::write(&file, [0xFF, 0xFE]).expect("written");
    assert!(TrustFile::open(&file).expect_err("not text").to_string().contains("UTF-8"));
    assert!(TrustFile::open(folder.path().join("none")).expect_err("missing").to_string().contains("none"));
}
