//! Keys that are not in this process: a real ssh-agent in full handshakes over TCP, and signers that fail, lie, sleep
//! or never answer.
#![cfg(all(feature = "tokio", feature = "agent", unix))]
#![allow(missing_docs)]

use std::fs;
use std::future::{Future, IntoFuture, pending};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::crypto::signature::SignatureInput;
use countersign::error::{Alert, Error, Failure, ReceivedAlert, Untrusted};
use countersign::identity::{AgentError, AgentSigner, SignFuture, Signer, SignerError};
use countersign::role::{Role, Stage};
use countersign::stream::ConnectError;
use countersign::trust::Pinned;
use countersign::{Config, Identity, Listener, PublicKey, Stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// An ssh-agent that ends with the test, also when that fails.
struct Agent {
    process: Child,
    folder: TempDir,
}

impl Agent {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Agent { process: command.spawn().expect("ssh-agent"), folder };
        let began = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the ssh-agent does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        agent
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// Makes a key that nobody but the agent has, and gives the line of its public half.
    fn make_key(&self, name: &str, kind: &str) -> String {
        let path = self.folder.path().join(name);
        run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", name, "-f"]).arg(&path));
        self.ssh_add(&[path.to_str().unwrap()]);
        fs::remove_file(&path).unwrap();
        fs::read_to_string(path.with_extension("pub")).unwrap()
    }

    fn ed25519(&self, name: &str) -> PublicKey {
        self.make_key(name, "ed25519").parse().unwrap()
    }

    fn ssh_add(&self, args: &[&str]) {
        run(Command::new("ssh-add").arg("-q").args(args).env("SSH_AUTH_SOCK", self.socket()));
    }

    fn find(&self, key: PublicKey) -> Result<AgentSigner, AgentError> {
        AgentSigner::find(self.socket(), &key.into())
    }

    /// Ends it, and frees the name of its socket.
    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(self.socket());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("OpenSSH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Stands where an agent stood, and gives every request the same answer.
fn answer_always(socket: &Path, answer: Vec<u8>) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut len = [0; 4];
            if client.read_exact(&mut len).is_ok() {
                let mut request = vec![0; u32::from_be_bytes(len) as usize];
                let _ = client.read_exact(&mut request).and_then(|()| client.write_all(&answer));
            }
        }
    });
}

/// A signer that misbehaves in the way of the test.
struct Odd<F> {
    public: PublicKey,
    sign: F,
}

impl<F, T> Signer for Odd<F>
where
    F: Fn(SignatureInput) -> T + Send + Sync,
    T: Future<Output = Result<[u8; 64], SignerError>> + Send + 'static,
{
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        Box::pin((self.sign)(input.clone()))
    }
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&mut [seed; 32]).unwrap()
}

/// One side's key, and what it signs with.
fn config(signer: impl Signer + 'static, peer: PublicKey) -> Config {
    Config::new(signer, Pinned::new([peer.into()]))
}

/// What both sides got: the initiator, and the responder.
type Both<T> = (Result<T, ConnectError>, Result<T, ConnectError>);

/// A whole handshake over a listener and a call.
async fn handshake(initiator: &Config, responder: &Config) -> Both<Stream<TcpStream>> {
    let (failed, mut failures) = mpsc::unbounded_channel();
    let on_failure = move |failure: &countersign::net::HandshakeFailure| {
        let _ = failed.send(match &failure.error {
            ConnectError::Protocol(failure) => ConnectError::Protocol(failure.clone()),
            ConnectError::Timeout { stage } => ConnectError::Timeout { stage: *stage },
            other => panic!("{other:?}"),
        });
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = Listener::from_tcp(socket, responder.clone(), on_failure).unwrap();
    let accepted = async {
        tokio::select! {
            stream = listener.accept() => Ok(stream.unwrap()),
            failure = failures.recv() => Err(failure.unwrap()),
        }
    };
    let called = async { initiator.connect(listener.local_addr()).peer(responder.public_key()).await };
    let both = async { tokio::join!(called, accepted) };
    timeout(Duration::from_secs(60), both).await.expect("in time")
}

async fn talk((initiator, responder): Both<Stream<TcpStream>>) {
    let (mut initiator, mut responder) = (initiator.unwrap(), responder.unwrap());
    assert_eq!(initiator.session_id(), responder.session_id());
    let mut heard = Vec::new();
    initiator.write_all(b"hello").await.unwrap();
    initiator.shutdown().await.unwrap();
    responder.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"hello");
}

fn failure<T>(result: Result<T, ConnectError>) -> Failure {
    match result {
        Err(ConnectError::Protocol(failure)) => failure,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("a stream"),
    }
}

fn told(alert: Alert) -> Error {
    Error::AlertReceived(ReceivedAlert { alert, text: String::new(), authenticated: false })
}

/// The signer of one side failed, with such a text: it says so, and the peer learns that it failed.
fn assert_signer_failed<T>(own: Result<T, ConnectError>, peer: Result<T, ConnectError>, role: Role, text: &str) {
    let own = failure(own);
    let stage = if role == Role::Initiator { Stage::AuthI } else { Stage::AuthR };
    assert_eq!((own.role, own.stage), (role, stage));
    assert!(matches!(&own.error, Error::Signer(why) if why.contains(text)), "{own}");
    assert_eq!(failure(peer).error, told(Alert::Internal));
}

/// A handshake with this signer in either role, against a peer whose key is in this process.
async fn in_both_roles<S: Signer + Clone + 'static>(
    signer: &S,
    settings: impl Fn(Config) -> Config,
) -> [(Role, Both<Stream<TcpStream>>); 2] {
    let odd = settings(config(signer.clone(), identity(2).public_key()));
    let honest = config(identity(2), signer.public_key());
    let as_initiator = handshake(&odd, &honest).await;
    let (called, accepted) = handshake(&honest, &odd).await;
    [(Role::Initiator, as_initiator), (Role::Responder, (accepted, called))]
}

/// Protects: the paved path of an agent. Its signatures are valid in both roles, beside keys of other kinds, and the
/// key is in no file.
#[tokio::test]
async fn an_agent_signs_in_both_roles() {
    let agent = Agent::start();
    agent.make_key("rsa", "rsa");
    agent.make_key("ecdsa", "ecdsa");
    let (alice, bob) = (agent.ed25519("alice"), agent.ed25519("bob"));
    let by_fingerprint = AgentSigner::find(agent.socket(), &bob.fingerprint().to_string().parse().unwrap()).unwrap();
    let (alice_signs, bob_signs) = (agent.find(alice).unwrap(), by_fingerprint);
    assert_eq!(Signer::public_key(&bob_signs), bob);
    let (alice_config, bob_config) = (config(alice_signs, bob), config(bob_signs, alice));
    talk(handshake(&alice_config, &bob_config).await).await;
    talk(handshake(&bob_config, &alice_config).await).await;
}

/// Protects: each signature asks the agent anew, so that it may be restarted under the same name.
#[tokio::test]
async fn an_agent_that_was_restarted() {
    let mut agent = Agent::start();
    let path = agent.folder.path().join("kept");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path));
    agent.ssh_add(&[path.to_str().unwrap()]);
    let key = fs::read_to_string(path.with_extension("pub")).unwrap().parse().unwrap();
    let signer = agent.find(key).unwrap();
    agent.kill();
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(agent.socket()).stdout(Stdio::null()).stderr(Stdio::null());
    agent.process = command.spawn().unwrap();
    while UnixStream::connect(agent.socket()).is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    agent.ssh_add(&[path.to_str().unwrap()]);
    for (_, both) in in_both_roles(&signer, |config| config).await {
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    }
}

/// Protects: a key that is not there is found out before any connection, with what is there; no agent is another error.
#[test]
fn an_agent_without_the_key() {
    let mut agent = Agent::start();
    let wanted = identity(1).public_key();
    assert_eq!(agent.find(wanted).unwrap_err(), AgentError::NoSuchKey(vec![]));
    agent.make_key("ecdsa", "ecdsa");
    let other = agent.ed25519("other");
    let error = agent.find(wanted).unwrap_err();
    assert_eq!(error, AgentError::NoSuchKey(vec![other.fingerprint().to_string()]));
    agent.kill();
    assert!(matches!(agent.find(other), Err(AgentError::Unreachable(_))));
}

/// Protects: an agent that is gone, or has lost the key, ends the handshake with an error that names the signer; the
/// peer is told at once.
#[tokio::test]
async fn an_agent_that_goes_between_lookup_and_signing() {
    let mut agent = Agent::start();
    let key = agent.ed25519("alice");
    let signer = agent.find(key).unwrap();
    agent.ssh_add(&["-D"]);
    for (role, (own, peer)) in in_both_roles(&signer, |config| config).await {
        assert_signer_failed(own, peer, role, "the ssh-agent refused");
    }
    agent.kill();
    for (role, (own, peer)) in in_both_roles(&signer, |config| config).await {
        assert_signer_failed(own, peer, role, "no ssh-agent answers");
    }
}

/// Protects: a certificate or a key of another type in the agent hides no key behind it.
#[tokio::test]
async fn an_agent_with_certificates_and_other_keys() {
    let agent = Agent::start();
    let rsa = agent.make_key("old", "rsa");
    assert!(rsa.starts_with("ssh-rsa"));
    let path = |name: &str| agent.folder.path().join(name);
    for name in ["ca", "certified"] {
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(name)));
    }
    let signed = ["-q", "-I", "id", "-n", "someone", "-s"];
    run(Command::new("ssh-keygen").args(signed).arg(path("ca")).arg(path("certified.pub")));
    // ssh-add takes the certificate along.
    agent.ssh_add(&[path("certified").to_str().unwrap()]);
    let key = agent.ed25519("alice");
    let signer = agent.find(key).unwrap();
    for (_, (own, peer)) in in_both_roles(&signer, |config| config).await {
        own.unwrap();
        peer.unwrap();
    }
    let certified: PublicKey = fs::read_to_string(path("certified.pub")).unwrap().parse().unwrap();
    agent.find(certified).unwrap();
}

/// Protects: the bound on unfinished handshakes holds while our own signer is awaited.
#[tokio::test]
async fn a_hung_signer_does_not_break_the_bounds() {
    let waiting = Arc::new(AtomicUsize::new(0));
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let counter = waiting.clone();
    let hangs = move |_: SignatureInput| {
        counter.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(counter.clone());
        async move {
            let _counted = counted;
            pending().await
        }
    };
    let signer = Odd { public: identity(1).public_key(), sign: hangs };
    let hung = config(signer, identity(2).public_key()).max_handshakes(4);
    let listener = Listener::bind("127.0.0.1:0", hung).await.unwrap();
    let honest = config(identity(2), identity(1).public_key());
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(honest.connect(listener.local_addr()).into_future())).collect();
    let mut most = 0;
    for _ in 0..60 {
        sleep(Duration::from_millis(10)).await;
        most = most.max(waiting.load(Ordering::SeqCst));
    }
    calls.iter().for_each(|call| call.abort());
    assert!((1..=8).contains(&most), "{most} handshakes wait for the signer");
}

/// Protects: what the agent answers is checked here, so that a faulty agent is not taken for a peer that refuses us.
#[tokio::test]
async fn an_agent_that_answers_nonsense() {
    let mut agent = Agent::start();
    let key = agent.ed25519("alice");
    let signer = agent.find(key).unwrap();
    let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let signature = [string(b"ssh-ed25519"), string(&[7; 64])].concat();
    let sign_response = string(&[vec![14], string(&signature)].concat());
    let (failure, no_answer) = (string(&[5]), vec![]);
    for (answer, text) in [
        (sign_response, "something else than a signature by this key"),
        (failure, "the ssh-agent refused"),
        (no_answer, "no ssh-agent answers"),
        (vec![0xFF; 4], "no ssh-agent answers"),
    ] {
        agent.kill();
        answer_always(&agent.socket(), answer);
        for (role, (own, peer)) in in_both_roles(&signer, |config| config).await {
            assert_signer_failed(own, peer, role, text);
        }
    }
}

/// Protects: an agent that asks a user who is away holds a handshake no longer than its deadline.
#[tokio::test]
async fn an_agent_that_never_answers() {
    let mut agent = Agent::start();
    let key = agent.ed25519("alice");
    let signer = agent.find(key).unwrap();
    agent.kill();
    let mute = UnixListener::bind(agent.socket()).unwrap();
    let soon = |config: Config| config.handshake_timeout(Duration::from_millis(400));
    for (role, (own, peer)) in in_both_roles(&signer, soon).await {
        assert_signer_failed(own, peer, role, "no signature came within the deadline");
    }
    drop(mute);
}

/// Protects: a signature that does not verify is refused by the peer, whichever side made it; a hash that is signed by
/// another key too.
#[tokio::test]
async fn a_signer_that_lies() {
    let own = Arc::new(identity(1));
    let flipped = {
        let own = own.clone();
        move |input: SignatureInput| {
            let mut signature = Identity::sign(&own, &input).unwrap();
            signature[5] ^= 1;
            async move { Ok(signature) }
        }
    };
    let other_key = |input: SignatureInput| async move { Ok(identity(3).sign(&input).unwrap()) };
    let nothing = |_: SignatureInput| async { Ok([0; 64]) };
    let signers: [Arc<dyn Signer>; 3] = [
        Arc::new(Odd { public: own.public_key(), sign: flipped }),
        Arc::new(Odd { public: own.public_key(), sign: other_key }),
        Arc::new(Odd { public: own.public_key(), sign: nothing }),
    ];
    for signer in signers {
        for (role, (own, peer)) in in_both_roles(&signer, |config| config).await {
            let peer = failure(peer);
            assert_eq!((peer.role, &peer.error), (role.peer(), &Error::Untrusted(Untrusted::Signature)));
            assert_eq!(failure(own).error, told(Alert::Refused));
        }
    }
}

/// Protects: the reason that a signer gives reaches the caller and the log, and not the peer.
#[tokio::test]
async fn a_signer_that_fails() {
    let fails = |_: SignatureInput| async { Err(SignerError::new("the drawer is locked")) };
    let signer = Arc::new(Odd { public: identity(1).public_key(), sign: fails });
    for (role, (own, peer)) in in_both_roles(&signer, |config| config).await {
        assert_signer_failed(own, peer, role, "the drawer is locked");
    }
}

/// Protects: nobody waits for ever for a signer; both sides hear of the deadline.
#[tokio::test]
async fn a_signer_that_never_answers() {
    let signer = Arc::new(Odd { public: identity(1).public_key(), sign: |_: SignatureInput| pending() });
    let soon = |config: Config| config.handshake_timeout(Duration::from_millis(200));
    for (role, (own, peer)) in in_both_roles(&signer, soon).await {
        assert_signer_failed(own, peer, role, "no signature came within the deadline");
    }
}

/// Protects: a slow signer is no failure, and the handshakes of a listener wait for their signatures side by side.
#[tokio::test]
async fn a_slow_signer() {
    let own = Arc::new(identity(1));
    let (waiting, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let slow = move |input: SignatureInput| {
        let (own, waiting, seen) = (own.clone(), waiting.clone(), seen.clone());
        async move {
            seen.fetch_max(waiting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(50)).await;
            waiting.fetch_sub(1, Ordering::SeqCst);
            Identity::sign(&own, &input).map_err(SignerError::new)
        }
    };
    let signer = Arc::new(Odd { public: identity(1).public_key(), sign: slow });
    for (_, both) in in_both_roles(&signer, |config| config).await {
        let both = (both.0.unwrap(), both.1.unwrap());
        assert_eq!(both.0.session_id(), both.1.session_id());
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let honest = config(identity(2), signer.public_key());
    let listener = Listener::bind("127.0.0.1:0", config(signer, identity(2).public_key())).await.unwrap();
    let calls: Vec<_> = (0..40).map(|_| tokio::spawn(honest.connect(listener.local_addr()).into_future())).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) > 1);
    assert_eq!(listener.stats().failed, 0);
}
