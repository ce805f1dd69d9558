//! Private key files: OpenSSH's format, and PKCS#8 PEM version 1 and 2 (RFC 5958, RFC 8410), as ssh-keygen and openssl write them.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::string::String;

use base64ct::{Base64, Encoding};
use ed25519_dalek::pkcs8::{DecodePrivateKey, KeypairBytes};
use rand_core::TryRng;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{Cipher, Kdf, LineEnding, PrivateKey as SshPrivateKey};
use zeroize::Zeroizing;

use crate::crypto::network::NetworkKey;
use crate::crypto::signature::PrivateKey;
use crate::identity::Identity;
use crate::limits::NETWORK_KEY_LEN;
use crate::secret::{Secret, wipe_stack};

/// Why a key file could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file system said no.
    Io(io::Error),
    /// Others than the owner may read or write the file; its permission bits.
    Permissions(u32),
    /// The key is encrypted and no passphrase was given.
    PassphraseNeeded,
    /// The passphrase does not open the key.
    WrongPassphrase,
    /// The file holds something else; what.
    Unsupported(&'static str),
    /// The file is damaged; where.
    Damaged(&'static str),
    /// No randomness.
    Entropy,
}

impl Identity {
    /// Loads a private key file without passphrase: OpenSSH or PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyFileError`]; a file that others can read is refused, as ssh does.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        Self::load(path.as_ref(), None)
    }

    /// Loads a private key file; the passphrase is used if the file is encrypted.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_file_with_passphrase(path: impl AsRef<Path>, passphrase: &[u8]) -> Result<Self, KeyFileError> {
        Self::load(path.as_ref(), Some(passphrase))
    }

    /// Parses the text of a private key file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_pem(pem: &str, passphrase: Option<&[u8]>) -> Result<Self, KeyFileError> {
        let identity = Self::parse(pem, passphrase);
        wipe_stack();
        identity
    }

    /// Not inlined: what it leaves on the stack is to be below its caller.
    #[inline(never)]
    fn parse(pem: &str, passphrase: Option<&[u8]>) -> Result<Self, KeyFileError> {
        match pem.trim_start().lines().next().unwrap_or("").trim_end() {
            "-----BEGIN OPENSSH PRIVATE KEY-----" => from_openssh(pem.trim_start(), passphrase),
            "-----BEGIN PRIVATE KEY-----" => from_pkcs8(pem.trim_start()),
            "-----BEGIN ENCRYPTED PRIVATE KEY-----" => Err(KeyFileError::Unsupported(
                "an encrypted PKCS#8 key: decrypt it with `openssl pkey -in OLD -out NEW`, then encrypt it with `ssh-keygen -p -f NEW`",
            )),
            line if line.starts_with("ssh-") => {
                Err(KeyFileError::Unsupported("a public key: give the private key file"))
            }
            line if line.starts_with("-----BEGIN ") => Err(KeyFileError::Unsupported("not an Ed25519 private key")),
            _ => Err(KeyFileError::Unsupported("not an OpenSSH or PKCS#8 PEM private key")),
        }
    }

    /// The text of an OpenSSH private key file, encrypted if a passphrase is given (bcrypt, AES-256-CTR).
    ///
    /// # Errors
    /// [`KeyFileError::Entropy`].
    pub fn to_openssh(&self, passphrase: Option<&[u8]>) -> Result<Zeroizing<String>, KeyFileError> {
        let text = self.encode(passphrase);
        wipe_stack();
        text
    }

    #[inline(never)]
    fn encode(&self, passphrase: Option<&[u8]>) -> Result<Zeroizing<String>, KeyFileError> {
        let private = Ed25519PrivateKey::from_bytes(self.private.seed().expose());
        let public = Ed25519PublicKey(*self.public.as_bytes());
        let pair = KeypairData::Ed25519(Ed25519Keypair { public, private });
        let failed = |_| KeyFileError::Damaged("the key could not be encoded");
        let mut key = SshPrivateKey::new(pair, self.comment.as_str()).map_err(failed)?;
        if let Some(passphrase) = passphrase {
            let mut salt = [0; 16];
            getrandom::SysRng.try_fill_bytes(&mut salt).map_err(|_| KeyFileError::Entropy)?;
            let checkint = getrandom::SysRng.try_next_u32().map_err(|_| KeyFileError::Entropy)?;
            let kdf = Kdf::Bcrypt { salt: salt.into(), rounds: BCRYPT_ROUNDS };
            key = key.encrypt_with(Cipher::Aes256Ctr, kdf, checkint, passphrase).map_err(failed)?;
        }
        key.to_openssh(LineEnding::LF).map_err(failed)
    }

    /// Writes an OpenSSH private key file that only the owner can read. Never overwrites.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn save(&self, path: impl AsRef<Path>, passphrase: Option<&[u8]>) -> Result<(), KeyFileError> {
        let text = self.to_openssh(passphrase)?;
        create_file(path.as_ref(), text.as_bytes(), 0o600).map_err(KeyFileError::Io)
    }

    fn load(path: &Path, passphrase: Option<&[u8]>) -> Result<Self, KeyFileError> {
        let text = read_private(path)?;
        let text = std::str::from_utf8(&text).map_err(|_| KeyFileError::Unsupported("not a text file"))?;
        Self::from_pem(text, passphrase)
    }
}

/// Reads a network key file: one line, `countersign-network-key` and the base64 of 32 bytes; lines that start with `#` are passed over.
///
/// # Errors
/// [`KeyFileError`]; a file that others can read is refused.
pub fn read_network_key(path: impl AsRef<Path>) -> Result<NetworkKey, KeyFileError> {
    let text = read_private(path.as_ref())?;
    let text = std::str::from_utf8(&text).map_err(|_| KeyFileError::Unsupported("not a text file"))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let base64 = match (lines.next().and_then(|line| line.strip_prefix(NETWORK_KEY_PREFIX)), lines.next()) {
        (Some(base64), None) => base64.trim(),
        _ => return Err(KeyFileError::Unsupported(NOT_A_NETWORK_KEY)),
    };
    let mut bytes = Zeroizing::new([0; NETWORK_KEY_LEN]);
    match Base64::decode(base64, &mut *bytes) {
        Ok(decoded) if decoded.len() == NETWORK_KEY_LEN => {
            NetworkKey::take(&mut bytes).map_err(|_| KeyFileError::Damaged("a network key is never zero"))
        }
        _ => Err(KeyFileError::Damaged("the base64 of a network key holds 32 bytes")),
    }
}

/// Writes a network key file that only the owner can read. Never overwrites.
///
/// # Errors
/// [`KeyFileError::Io`].
pub fn save_network_key(key: &NetworkKey, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
    let base64 = Zeroizing::new(Base64::encode_string(key.expose()));
    let text = Zeroizing::new(std::format!("{NETWORK_KEY_PREFIX} {}\n", *base64));
    create_file(path.as_ref(), text.as_bytes(), 0o600).map_err(KeyFileError::Io)
}

/// The content of a small file that nobody else can read.
fn read_private(path: &Path) -> Result<Zeroizing<std::vec::Vec<u8>>, KeyFileError> {
    let file = File::open(path).map_err(KeyFileError::Io)?;
    check_permissions(&file)?;
    let mut text = Zeroizing::new(std::vec::Vec::with_capacity(MAX_KEY_FILE_LEN));
    let max = u64::try_from(MAX_KEY_FILE_LEN).unwrap_or(u64::MAX);
    file.take(max).read_to_end(&mut text).map_err(KeyFileError::Io)?;
    if text.len() == MAX_KEY_FILE_LEN {
        return Err(KeyFileError::Unsupported("a file of more than 16 KiB: not a key"));
    }
    Ok(text)
}

/// Creates a file with the given permission bits; never overwrites, and leaves nothing behind if it fails.
///
/// # Errors
/// Those of the file system; `AlreadyExists` if the file is there.
pub fn create_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

fn from_openssh(pem: &str, passphrase: Option<&[u8]>) -> Result<Identity, KeyFileError> {
    let mut key = SshPrivateKey::from_openssh(pem).map_err(|error| match error {
        ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => NOT_ED25519,
        _ => KeyFileError::Damaged("the OpenSSH key does not parse"),
    })?;
    if key.is_encrypted() {
        let passphrase = passphrase.ok_or(KeyFileError::PassphraseNeeded)?;
        key = key.decrypt(passphrase).map_err(|_| KeyFileError::WrongPassphrase)?;
    }
    let KeypairData::Ed25519(pair) = key.key_data() else { return Err(NOT_ED25519) };
    let mut seed = pair.private.to_bytes();
    identity(&mut seed, Some(&pair.public.0), key.comment())
}

fn from_pkcs8(pem: &str) -> Result<Identity, KeyFileError> {
    let mut pair = KeypairBytes::from_pkcs8_pem(pem).map_err(|error| match error {
        ed25519_dalek::pkcs8::Error::PublicKey(_) => NOT_ED25519,
        _ => KeyFileError::Damaged("the PKCS#8 file does not hold an Ed25519 private key"),
    })?;
    let public = pair.public_key.map(|key| key.to_bytes());
    identity(&mut pair.secret_key, public.as_ref(), "")
}

/// The public half is computed; one in the file is only compared, since a wrong one means that the file is damaged.
fn identity(seed: &mut [u8; 32], public: Option<&[u8; 32]>, comment: &str) -> Result<Identity, KeyFileError> {
    let failed = |_| KeyFileError::Damaged("the key was refused");
    let private = PrivateKey::from_seed(Secret::take(seed)).map_err(failed)?;
    let identity = Identity::new(private, comment.into());
    if public.is_some_and(|public| public != identity.public.as_bytes()) {
        return Err(KeyFileError::Damaged("the public half in the file does not belong to the private one"));
    }
    Ok(identity)
}

#[cfg(unix)]
fn check_permissions(file: &File) -> Result<(), KeyFileError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata().map_err(KeyFileError::Io)?;
    if metadata.is_dir() {
        return Err(KeyFileError::Unsupported("a directory"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 { Err(KeyFileError::Permissions(mode)) } else { Ok(()) }
}

#[cfg(not(unix))]
fn check_permissions(_: &File) -> Result<(), KeyFileError> {
    Ok(())
}

impl std::error::Error for KeyFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            KeyFileError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFileError::Io(error) => error.fmt(f),
            KeyFileError::Permissions(mode) => {
                write!(
                    f,
                    "its permissions are {mode:04o}: others than its owner can read a private key; run `chmod 600` on it"
                )
            }
            KeyFileError::PassphraseNeeded => f.write_str("the key is encrypted: a passphrase is needed"),
            KeyFileError::WrongPassphrase => f.write_str("the passphrase does not open the key"),
            KeyFileError::Unsupported(what) => f.write_str(what),
            KeyFileError::Damaged(what) => write!(f, "the key file is damaged: {what}"),
            KeyFileError::Entropy => f.write_str("the system gave no randomness"),
        }
    }
}

const NOT_ED25519: KeyFileError = KeyFileError::Unsupported("a private key of another type than Ed25519");
/// Rounds of bcrypt_pbkdf, as ssh-keygen's default was for years.
const BCRYPT_ROUNDS: u32 = 16;
const MAX_KEY_FILE_LEN: usize = 16_384;
const NETWORK_KEY_PREFIX: &str = "countersign-network-key";
const NOT_A_NETWORK_KEY: &str = "not a network key: expected one line `countersign-network-key BASE64`, as `countersign keygen --network` writes it";
