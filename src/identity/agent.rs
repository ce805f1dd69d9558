//! Keys that an ssh-agent holds (draft-ietf-sshm-ssh-agent, sections 3.5 and 3.6): the private key never comes into this process.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::crypto::signature::{PublicKey, SignatureInput};
use crate::error::Error;
use crate::identity::{PeerId, SignFuture, Signer, SignerError};
use crate::limits::SIGNATURE_LEN;
use crate::wire::cursor::Cursor;

/// An Ed25519 key in an ssh-agent, reached by its socket. Every signature is a new connection, so the agent may be restarted.
#[derive(Clone, Debug)]
pub struct AgentSigner {
    socket: PathBuf,
    public: PublicKey,
}

/// Why an agent can't sign for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentError {
    /// No agent answers at the socket; why.
    Unreachable(String),
    /// The agent does not hold the key; the fingerprints of the Ed25519 keys that it holds.
    NoSuchKey(Vec<String>),
}

impl AgentSigner {
    /// Looks a key up in the agent that listens at `socket` (usually the value of `SSH_AUTH_SOCK`). Blocks for as long as the agent takes, and gives
    /// it up when nothing comes for 5 s.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn find(socket: impl AsRef<Path>, key: &PeerId) -> Result<Self, AgentError> {
        let socket = socket.as_ref().to_path_buf();
        let answer = ask(&socket, &message(REQUEST_IDENTITIES, &[]), LOOK_UP);
        let unreachable = |why: &dyn fmt::Display| AgentError::Unreachable(format!("{}: {why}", socket.display()));
        let answer = answer.map_err(|error| unreachable(&error))?;
        let held = identities(&answer).map_err(|error| unreachable(&error))?;
        match held.iter().find(|held| key.matches(held)) {
            Some(public) => Ok(AgentSigner { public: *public, socket }),
            None => Err(AgentError::NoSuchKey(held.iter().map(|held| held.fingerprint().to_string()).collect())),
        }
    }

    fn request(&self, input: &SignatureInput) -> Vec<u8> {
        message(SIGN_REQUEST, &[&string(&blob(&self.public)), &string(input.as_bytes()), &[0; 4]])
    }

    /// Reads the answer, and checks the signature: a wrong one would look as if the peer did not trust us.
    fn signature(
        &self,
        input: &SignatureInput,
        answer: io::Result<Vec<u8>>,
    ) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        let answer = answer.map_err(|error| SignerError::new(format_args!("no ssh-agent answers: {error}")))?;
        if answer.first() == Some(&FAILURE) {
            return Err(SignerError::new("the ssh-agent refused: is the key still there, and did you confirm?"));
        }
        let bad = |_| SignerError::new("the ssh-agent answered with something else than a signature by this key");
        let signature = signature(&answer).map_err(bad)?;
        self.public.verify(input, &signature).map_err(bad)?;
        Ok(signature)
    }
}

impl Signer for AgentSigner {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Asynchronous inside a tokio runtime, which must have its IO driver; blocking elsewhere, until nothing comes for 60 s: the agent may ask its user.
    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        Box::pin(async move {
            #[cfg(feature = "tokio")]
            if tokio::runtime::Handle::try_current().is_ok() {
                return self.signature(input, ask_async(&self.socket, &self.request(input)).await);
            }
            self.signature(input, ask(&self.socket, &self.request(input), SIGN))
        })
    }
}

fn ask(socket: &Path, request: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; checked(len)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[cfg(feature = "tokio")]
async fn ask_async(socket: &Path, request: &[u8]) -> io::Result<Vec<u8>> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await?;
    stream.write_all(request).await?;
    let mut len = [0; 4];
    stream.read_exact(&mut len).await?;
    let mut answer = vec![0; checked(len)?];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The length that the agent claims, which is ours to bound.
fn checked(len: [u8; 4]) -> io::Result<usize> {
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if (1..=MAX_ANSWER_LEN).contains(&len) { Ok(len) } else { Err(io::Error::other("not an answer of an ssh-agent")) }
}

/// `u32(length) || type || fields`.
fn message(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    string(&[&[kind], fields.concat().as_slice()].concat())
}

/// `u32(length) || bytes`; everything here is short.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes(), bytes].concat()
}

/// A public key as SSH writes it (RFC 8709, section 4).
fn blob(key: &PublicKey) -> Vec<u8> {
    [string(ED25519), string(key.as_bytes())].concat()
}

/// The Ed25519 keys in an answer; certificates and keys of other types are passed over.
fn identities(answer: &[u8]) -> Result<Vec<PublicKey>, Error> {
    let mut cursor = Cursor::new(answer);
    let (kind, count) = (cursor.u8("type")?, cursor.u32("number of keys")?);
    if kind != IDENTITIES_ANSWER {
        return Err(Error::Unexpected { expected: "a list of keys", got: "something else" });
    }
    let mut keys = Vec::new();
    for _ in 0..count {
        let held = take(&mut cursor)?;
        take(&mut cursor)?;
        // A weak key is nobody's.
        keys.extend(ed25519(held, "key").and_then(|key: [u8; 32]| PublicKey::from_bytes(&key)));
    }
    Ok(keys)
}

fn signature(answer: &[u8]) -> Result<[u8; SIGNATURE_LEN], Error> {
    let mut cursor = Cursor::new(answer);
    if cursor.u8("type")? != SIGN_RESPONSE {
        return Err(Error::Unexpected { expected: "a signature", got: "something else" });
    }
    ed25519(take(&mut cursor)?, "signature")
}

/// `string "ssh-ed25519" || string value`.
fn ed25519<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], Error> {
    let mut cursor = Cursor::new(bytes);
    if take(&mut cursor)? != ED25519 {
        return Err(Error::Unexpected { expected: "ssh-ed25519", got: "another type" });
    }
    let mut value = Cursor::new(take(&mut cursor)?);
    cursor.finish(field)?;
    let array = value.array(field)?;
    value.finish(field).map(|()| array)
}

fn take<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Error> {
    let len = usize::try_from(cursor.u32("length")?).unwrap_or(usize::MAX);
    cursor.take(len, "string")
}

impl std::error::Error for AgentError {}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentError::Unreachable(why) => write!(f, "no ssh-agent answers: {why}"),
            AgentError::NoSuchKey(held) if held.is_empty() => f.write_str("the ssh-agent holds no Ed25519 key"),
            AgentError::NoSuchKey(held) => write!(f, "the ssh-agent holds other keys: {}", held.join(", ")),
        }
    }
}

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const ED25519: &[u8] = b"ssh-ed25519";
/// As OpenSSH's own bound.
const MAX_ANSWER_LEN: usize = 256 * 1_024;
const LOOK_UP: Duration = Duration::from_secs(5);
const SIGN: Duration = Duration::from_secs(60);
