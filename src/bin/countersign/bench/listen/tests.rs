//! The bounds in time, on a clock that jumps: an authenticated peer that does not go on, or does not stop.

use std::sync::Arc;

use countersign::identity::Identity;
use countersign::stream::protocol_error;
use countersign::trust::Pinned;
use countersign::{Config, error::Error};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// An initiator, and a session that answers it.
async fn pair() -> (Stream<DuplexStream>, JoinHandle<()>) {
    let (alice, bob) = (Identity::generate().expect("key"), Identity::generate().expect("key"));
    let alice_trusts = Pinned::new([bob.public_key().into()]);
    let bob_trusts = Pinned::new([alice.public_key().into()]);
    let (near, far) = duplex(1 << 16);
    let (alice, bob) = (Config::new(Arc::new(alice), alice_trusts), Config::new(Arc::new(bob), bob_trusts));
    let (initiator, responder) = tokio::join!(alice.connect_over(near).into_future(), bob.accept_over(far, None));
    let session = tokio::spawn(session(responder.expect("accepted"), PATIENCE, false));
    (initiator.expect("connected"), session)
}

async fn ask(initiator: &mut Stream<DuplexStream>, command: Command) {
    initiator.write_all(&command.request()).await.expect("asked");
    let mut answer = [0; REQUEST_LEN];
    initiator.read_exact(&mut answer).await.expect("answered");
    assert_eq!(answer, command.answer());
}

/// Who is let in and asks for nothing is told so, and holds its place no longer than a handshake may take.
#[tokio::test(start_paused = true)]
async fn silence_ends() {
    let (mut initiator, session) = pair().await;
    let start = Instant::now();
    let error = initiator.read_u8().await.expect_err("an alert");
    let Some(Error::AlertReceived(alert)) = protocol_error(&error) else { panic!("{error}") };
    assert_eq!((alert.alert, alert.text.as_str()), (Alert::Timeout, "bench: no request came"));
    session.await.expect("over");
    assert!(start.elapsed() < PATIENCE + TURN_AWAY, "{:?}", start.elapsed());
}

/// A download that nobody reads or ends, an upload and an echo that go on for ever: each is over after its time.
#[tokio::test(start_paused = true)]
async fn measures_end() {
    for command in [Command::Download { size: 1 << 16 }, Command::Upload, Command::Echo, Command::Close] {
        let (mut initiator, mut session) = pair().await;
        let start = Instant::now();
        ask(&mut initiator, command).await;
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if command == Command::Upload && initiator.write_all(&[0; 10]).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            over = &mut session => over.expect("over"),
            () = trickle => {}
        }
        let (took, most) = (start.elapsed(), MAX_TIME + LINGER + Duration::from_secs(2));
        assert!(took >= LINGER && took <= most, "{command:?}: {took:?}");
    }
}
