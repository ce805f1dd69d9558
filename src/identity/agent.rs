//! Keys that an ssh-agent holds (draft-ietf-sshm-ssh-agent): the private key never comes into this process.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssh_agent_lib::blocking::Client;
use ssh_agent_lib::proto::SignRequest;
use ssh_key::public::{Ed25519PublicKey, KeyData};

use crate::crypto::signature::{PublicKey, SignatureInput};
use crate::identity::{PeerId, SignFuture, Signer, SignerError};
use crate::limits::SIGNATURE_LEN;

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
    /// Looks a key up in the agent that listens at `socket` (usually the value of `SSH_AUTH_SOCK`). Blocks for 5 s at most.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn find(socket: impl AsRef<Path>, key: &PeerId) -> Result<Self, AgentError> {
        let socket = socket.as_ref().to_path_buf();
        let mut agent = connect(&socket, LOOK_UP)?;
        let unreachable = |error| AgentError::Unreachable(format!("{error}"));
        let held = agent.request_identities().map_err(unreachable)?;
        let mut others = Vec::new();
        for identity in held {
            let KeyData::Ed25519(held) = identity.credential.key_data() else { continue };
            // A weak key is nobody's.
            let Ok(public) = PublicKey::from_bytes(&held.0) else { continue };
            if key.matches(&public) {
                return Ok(AgentSigner { socket, public });
            }
            others.push(public.fingerprint().to_string());
        }
        Err(AgentError::NoSuchKey(others))
    }

    /// Asks the agent, and checks what it answers.
    fn sign_blocking(&self, input: &SignatureInput) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        let mut agent = connect(&self.socket, SIGN).map_err(SignerError::new)?;
        let key = KeyData::Ed25519(Ed25519PublicKey(*self.public.as_bytes()));
        let request = SignRequest { credential: key.into(), data: input.as_bytes().to_vec(), flags: 0 };
        let answer = agent.sign(request);
        let signature = answer.map_err(|error| SignerError::new(format_args!("the ssh-agent refused: {error}")))?;
        let bad = || SignerError::new("the ssh-agent answered with something else than a signature by this key");
        let signature = signature.as_bytes().try_into().map_err(|_| bad())?;
        self.public.verify(input, &signature).map_err(|_| bad())?;
        Ok(signature)
    }
}

impl Signer for AgentSigner {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    /// In a thread of its own, since an agent may ask its user first.
    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        let (signer, input) = (self.clone(), input.clone());
        #[cfg(feature = "tokio")]
        if tokio::runtime::Handle::try_current().is_ok() {
            let task = tokio::task::spawn_blocking(move || signer.sign_blocking(&input));
            return Box::pin(async move { task.await.unwrap_or_else(|error| Err(SignerError::new(error))) });
        }
        Box::pin(async move { signer.sign_blocking(&input) })
    }
}

fn connect(socket: &Path, patience: Duration) -> Result<Client<UnixStream>, AgentError> {
    let unreachable = |error| AgentError::Unreachable(format!("{}: {error}", socket.display()));
    let stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(patience)).map_err(unreachable)?;
    stream.set_write_timeout(Some(patience)).map_err(unreachable)?;
    Ok(Client::new(stream))
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

const LOOK_UP: Duration = Duration::from_secs(5);
/// A person may have to confirm; the handshake's deadline comes first.
const SIGN: Duration = Duration::from_secs(60);
