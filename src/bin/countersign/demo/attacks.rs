//! Three attacks, each with the error that a user would get. One that succeeds fails the demonstration.

use countersign::error::{Error, Untrusted};
use countersign::identity::Identity;
use countersign::stream::{ConnectError, protocol_error};
use countersign::trust::{Decision, from_fn};
use countersign::{Config, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::demo::tap::Mischief;
use crate::demo::{Paint, Peers, failed, say};
use crate::report::Report;

/// Shows them.
pub async fn show(peers: &Peers, paint: &Paint) -> Result<(), Report> {
    let error = wrong_key(peers).await?;
    tell(paint, "mallory answers in bob's place", "alice", &error);
    let error = on_the_path(peers, Mischief::Tamper, |error| matches!(error, Error::Tampered(_))).await?;
    tell(paint, "one bit of a record is changed on the way", "bob", &error);
    let error = on_the_path(peers, Mischief::Cut, |error| *error == Error::Truncated).await?;
    tell(paint, "the connection is cut before alice is done", "bob", &error);
    Ok(())
}

fn tell(paint: &Paint, attack: &str, victim: &str, error: &str) {
    say(format!("     {attack}"));
    say(format!("       {}  {victim} gets: {error}", paint.good("stopped")));
}

/// Mallory has a key of her own, and accepts everybody.
async fn wrong_key(peers: &Peers) -> Result<String, Report> {
    let mallory = Identity::generate().map_err(failed)?;
    let mallory = Config::new(mallory, from_fn(|_| Decision::accept()));
    let listener = Listener::bind("127.0.0.1:0", mallory).await.map_err(failed)?;
    let bob = peers.bob_identity.public_key();
    match peers.alice.connect(listener.local_addr()).peer(bob).await {
        Err(error @ ConnectError::Protocol(_)) if is_not_expected(&error) => Ok(error.to_string()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(failed("alice took mallory for bob")),
    }
}

fn is_not_expected(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Protocol(failure)
        if matches!(failure.error, Error::Untrusted(Untrusted::NotExpected { .. })))
}

/// Alice sends, somebody on the path interferes, bob must notice.
async fn on_the_path(peers: &Peers, mischief: Mischief, noticed: fn(&Error) -> bool) -> Result<String, Report> {
    let (mut alice, mut bob, _tap) = peers.connect(mischief).await?;
    let send = async {
        alice.write_all(b"pay 100 to bob").await?;
        alice.flush().await
    };
    send.await.map_err(failed)?;
    let mut received = Vec::new();
    match bob.read_to_end(&mut received).await {
        Err(error) if received.is_empty() && protocol_error(&error).is_some_and(noticed) => Ok(error.to_string()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(failed("bob noticed nothing")),
    }
}
