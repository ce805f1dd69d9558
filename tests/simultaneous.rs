//! Two peers that call each other at once keep one session: over real loopback TCP, by chance and in chosen orders.
#![cfg(feature = "tokio")]
#![allow(missing_docs)]

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use countersign::error::{Error, Reason, Refusal};
use countersign::net::{Connect, Dialed, SimultaneousDial, ToAddress};
use countersign::stream::{ConnectError, Milestone};
use countersign::trust::{Decision, DecisionFuture, Direction, Request, Trust};
use countersign::{Config, Identity, Listener, PublicKey, Stream};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

type Session = Stream<TcpStream>;
type Outcome = Result<Dialed<TcpStream>, ConnectError>;

/// A trust that the test holds at will, by direction: it says that it was asked, and waits until it may answer.
#[derive(Clone)]
struct Held {
    direction: Direction,
    asked: Arc<Semaphore>,
    may_answer: Arc<Semaphore>,
    answer: Decision,
}

impl Held {
    fn new(direction: Direction, answer: Decision) -> Self {
        Held { direction, asked: Arc::new(Semaphore::new(0)), may_answer: Arc::new(Semaphore::new(0)), answer }
    }

    async fn was_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }

    fn release(&self) {
        self.may_answer.add_permits(1_000);
    }
}

impl Trust for Held {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            if request.direction != self.direction {
                return Decision::accept();
            }
            self.asked.add_permits(1);
            self.may_answer.acquire().await.unwrap().forget();
            self.answer.clone()
        })
    }
}

/// Answers at once, by direction.
struct Ready {
    inbound: Decision,
}

impl Trust for Ready {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        match request.direction {
            Direction::Inbound => self.inbound.clone().ready(),
            Direction::Outbound => Decision::accept().ready(),
        }
    }
}

fn open() -> Ready {
    Ready { inbound: Decision::accept() }
}

/// A peer: its listener, its calls, and what its listener refused.
struct Node {
    key: PublicKey,
    config: Config,
    dialing: SimultaneousDial,
    listener: Arc<Listener>,
    failures: mpsc::UnboundedReceiver<Error>,
}

impl Node {
    async fn new(seed: u8, trust: impl Trust + 'static) -> Self {
        let config = Config::new(identity(seed), trust).max_handshakes_per_address(10_000);
        let (failed, failures) = mpsc::unbounded_channel();
        let dialing = SimultaneousDial::new();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = dialing.listen(socket, config.clone(), move |failure| {
            if let ConnectError::Protocol(failure) = &failure.error {
                let _ = failed.send(failure.error.clone());
            }
        });
        Node { key: config.public_key(), config, dialing, listener: Arc::new(listener.unwrap()), failures }
    }

    fn call(&self, peer: &Node) -> impl Future<Output = Outcome> + Send + use<> {
        self.call_at(peer.listener.local_addr().to_string(), peer.key)
    }

    fn call_at(&self, address: String, peer: PublicKey) -> impl Future<Output = Outcome> + Send + use<> {
        self.make(self.config.connect(address), peer)
    }

    fn make(&self, call: Connect<ToAddress<String>>, peer: PublicKey) -> impl Future<Output = Outcome> + Send + use<> {
        let dialing = self.dialing.clone();
        async move { dialing.connect(call, peer).await }
    }

    async fn accept(&self) -> Session {
        self.listener.accept().await.unwrap()
    }

    /// The listener has nothing more to give, and the book of calls is empty: nothing is left of any call.
    async fn is_quiet(&self) {
        while self.listener.stats().in_flight > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let more = pin!(self.listener.accept()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!more, "another session comes out of accept");
        let book = format!("{:?}", self.dialing);
        assert!(book.contains("pairs: {}, answering: {}, succeeded: []"), "{book}");
    }

    async fn was_told_of_the_other_call(&mut self) {
        let refusal = Refusal::new(Reason::Denied, "simultaneous dial: the other call is kept");
        while self.failures.recv().await.unwrap() != Error::Denied(refusal.clone()) {}
    }
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&mut [seed; 32]).unwrap()
}

/// Seeds of identities, by public key: the first is S of the rule.
fn by_key<const N: usize>() -> [u8; N] {
    let mut seeds = std::array::from_fn(|n| u8::try_from(n + 1).unwrap());
    seeds.sort_by_key(|seed| *identity(*seed).public_key().as_bytes());
    seeds
}

async fn pair(s: impl Trust + 'static, l: impl Trust + 'static) -> (Node, Node) {
    let [first, second] = by_key();
    (Node::new(first, s).await, Node::new(second, l).await)
}

async fn bounded<T>(test: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(100), test).await.expect("in time")
}

fn stream(outcome: Outcome) -> Session {
    match outcome {
        Ok(Dialed::Stream(stream)) => stream,
        other => panic!("{other:?}"),
    }
}

fn they_called(outcome: Outcome) {
    assert!(matches!(outcome, Ok(Dialed::TheyCalled)), "{outcome:?}");
}

fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Err(ConnectError::Protocol(failure)) => match failure.error {
            Error::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Both are the same session, and both directions carry data to their end.
async fn talk(mut one: Session, mut other: Session) {
    assert_eq!(one.session_id(), other.session_id());
    one.write_all(b"there").await.unwrap();
    one.shutdown().await.unwrap();
    other.write_all(b"and back").await.unwrap();
    other.shutdown().await.unwrap();
    let (mut there, mut back) = (Vec::new(), Vec::new());
    other.read_to_end(&mut there).await.unwrap();
    one.read_to_end(&mut back).await.unwrap();
    assert_eq!((there.as_slice(), back.as_slice()), (b"there".as_slice(), b"and back".as_slice()));
}

/// Waits for less than a timer can.
async fn wait(delay: Duration) {
    let until = Instant::now() + delay;
    while Instant::now() < until {
        tokio::task::yield_now().await;
    }
}

/// What an application does that wants one session with a peer: it calls after a while unless it has one. `watches`
/// accepts all the while, the other kind only when it is told that they called. Gives every session that it got, and
/// whether the first came by accept.
async fn wants_one(node: &Node, peer: &Node, delay: Duration, watches: bool) -> (Vec<Session>, bool) {
    let accept = || -> Pin<Box<dyn Future<Output = Session> + Send + '_>> {
        if watches { Box::pin(node.accept()) } else { Box::pin(pending()) }
    };
    tokio::select! {
        session = accept() => return (vec![session], true),
        () = wait(delay) => {}
    }
    let mut call = pin!(node.call(peer));
    tokio::select! {
        // The call begins before a session is taken: one that waits by now answers it.
        biased;
        outcome = &mut call => match outcome.unwrap() {
            Dialed::TheyCalled => (vec![node.accept().await], true),
            Dialed::Stream(session) => (vec![session], false),
        },
        session = accept() => match call.await.unwrap() {
            Dialed::TheyCalled => (vec![session], true),
            Dialed::Stream(another) => (vec![session, another], true),
        },
    }
}

/// Whoever is first, and by however little: one session, of which both sides know, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_session_whatever_the_offset() {
    bounded(async {
        let (s, l) = pair(open(), open()).await;
        let mut kept = [0, 0];
        for seed in 0..200_u64 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let range = [1, 200, 2_000, 8_000][usize::try_from(seed % 4).unwrap()];
            let mut delay = || Duration::from_micros(rng.next_u64() % range);
            let mut delays = [delay(), delay()];
            match seed / 4 % 4 {
                0 => delays[0] = Duration::ZERO,
                1 => delays[1] = Duration::ZERO,
                2 => delays[1] = delays[0],
                _ => {}
            }
            let (s_watches, l_watches) = (seed & 16 == 0, seed & 32 == 0);
            println!("seed {seed}: {delays:?}, watching: {s_watches} {l_watches}");
            let (ours, theirs) =
                tokio::join!(wants_one(&s, &l, delays[0], s_watches), wants_one(&l, &s, delays[1], l_watches));
            let ((ours, accepted), (theirs, _)) = (ours, theirs);
            assert_eq!((ours.len(), theirs.len()), (1, 1));
            talk(ours.into_iter().next().unwrap(), theirs.into_iter().next().unwrap()).await;
            s.is_quiet().await;
            l.is_quiet().await;
            kept[usize::from(accepted)] += 1;
        }
        println!("kept: {} of S, {} of L", kept[0], kept[1]);
        let accepted = [s.listener.stats().accepted, l.listener.stats().accepted];
        assert_eq!(accepted, [kept[1], kept[0]]);
        assert!(kept[0] > 0 && kept[1] > 0, "{kept:?}");
    })
    .await;
}

/// Every pair of three keeps its own session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes() {
    bounded(async {
        let [a, b, c] = by_key();
        let nodes = [Node::new(a, open()).await, Node::new(b, open()).await, Node::new(c, open()).await];
        let nodes: Arc<[Node]> = nodes.into();
        for seed in 0..40_u64 {
            println!("seed {seed}");
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let delays: Vec<_> = (0..3).map(|_| Duration::from_micros(rng.next_u64() % 1_000)).collect();
            let tasks: Vec<_> = (0..3).map(|own| tokio::spawn(all(nodes.clone(), own, delays[own]))).collect();
            let mut sessions = Vec::new();
            for task in tasks {
                let got = task.await.unwrap();
                assert_eq!(got.len(), 2);
                sessions.extend(got);
            }
            sessions.sort_by_key(|session| session.session_id().to_string());
            for _ in 0..3 {
                let (one, other) = (sessions.pop().unwrap(), sessions.pop().unwrap());
                assert_ne!(one.peer().public_key(), other.peer().public_key());
                talk(one, other).await;
            }
            for node in nodes.iter() {
                node.is_quiet().await;
            }
        }
    })
    .await;
}

/// Calls both others, and gives the sessions with them.
async fn all(nodes: Arc<[Node]>, own: usize, delay: Duration) -> Vec<Session> {
    let me = &nodes[own];
    wait(delay).await;
    let (one, other) = tokio::join!(me.call(&nodes[(own + 1) % 3]), me.call(&nodes[(own + 2) % 3]));
    let mut sessions = Vec::new();
    for outcome in [one.unwrap(), other.unwrap()] {
        sessions.push(match outcome {
            Dialed::Stream(stream) => stream,
            Dialed::TheyCalled => me.accept().await,
        });
    }
    sessions
}

/// Without a call in the other direction the rule changes nothing; a later call is a second session.
#[tokio::test]
async fn calls_from_one_side() {
    bounded(async {
        let (s, l) = pair(open(), open()).await;
        for (caller, callee) in [(&s, &l), (&l, &s)] {
            let first = (stream(caller.call(callee).await), callee.accept().await);
            let second = (stream(caller.call(callee).await), callee.accept().await);
            let back = (stream(callee.call(caller).await), caller.accept().await);
            for (one, other) in [first, second, back] {
                talk(one, other).await;
            }
            let both = tokio::join!(caller.call(callee), caller.call(callee));
            let (one, other) = (stream(both.0), stream(both.1));
            assert_ne!(one.session_id(), other.session_id());
            let (first, second) = (callee.accept().await, callee.accept().await);
            let straight = first.session_id() == one.session_id();
            let (to_one, to_other) = if straight { (first, second) } else { (second, first) };
            talk(one, to_one).await;
            talk(other, to_other).await;
        }
        s.is_quiet().await;
        l.is_quiet().await;
    })
    .await;
}

/// S waits with its decision while L decides about S's call, and keeps that when L accepts.
#[tokio::test]
async fn a_committed_call_is_kept() {
    bounded(async {
        let deciding = Held::new(Direction::Inbound, Decision::accept());
        let (mut s, l) = pair(open(), deciding.clone()).await;
        let ours = tokio::spawn(s.call(&l));
        deciding.was_asked().await;
        let theirs = hold(&s, &l).await;
        deciding.release();
        let ours = stream(ours.await.unwrap());
        they_called(theirs.await.unwrap());
        talk(ours, l.accept().await).await;
        s.was_told_of_the_other_call().await;
        s.is_quiet().await;
        l.is_quiet().await;
    })
    .await;
}

/// Starts a call of L's, and returns when S has it and waits with its decision.
async fn hold(s: &Node, l: &Node) -> JoinHandle<Outcome> {
    let theirs = tokio::spawn(l.call(s));
    while !format!("{:?}", s.dialing).contains("Held") {
        tokio::task::yield_now().await;
    }
    assert!(!theirs.is_finished());
    theirs
}

/// When L refuses S's call, or S's is dropped, L's call that waited for it is kept.
#[tokio::test]
async fn a_committed_call_that_fails() {
    bounded(async {
        let deciding = Held::new(Direction::Inbound, Decision::deny("not from you"));
        let (s, l) = pair(open(), deciding.clone()).await;
        let ours = tokio::spawn(s.call(&l));
        deciding.was_asked().await;
        let theirs = hold(&s, &l).await;
        deciding.release();
        they_called(ours.await.unwrap());
        talk(s.accept().await, stream(theirs.await.unwrap())).await;
        s.is_quiet().await;
        l.is_quiet().await;
    })
    .await;
}

#[tokio::test]
async fn a_committed_call_that_is_dropped() {
    bounded(async {
        let deciding = Held::new(Direction::Inbound, Decision::accept());
        let (s, l) = pair(open(), deciding.clone()).await;
        let ours = tokio::spawn(s.call(&l));
        deciding.was_asked().await;
        let theirs = hold(&s, &l).await;
        ours.abort();
        assert!(ours.await.unwrap_err().is_cancelled());
        talk(s.accept().await, stream(theirs.await.unwrap())).await;
        s.is_quiet().await;
        deciding.release();
        // L may accept a connection that is gone: it can't know.
        while l.listener.stats().in_flight > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        if l.listener.stats().accepted == 1 {
            assert!(l.accept().await.read_u8().await.is_err());
        }
        l.is_quiet().await;
    })
    .await;
}

/// A call of S's that has not proved itself gives way to L's, wherever it stands, and L never hears of it.
#[tokio::test]
async fn a_call_that_is_not_committed_gives_way() {
    bounded(async {
        let deciding = Held::new(Direction::Outbound, Decision::accept());
        let (s, l) = pair(deciding.clone(), open()).await;
        let ours = tokio::spawn(s.call(&l));
        deciding.was_asked().await;
        let theirs = stream(l.call(&s).await);
        they_called(ours.await.unwrap());
        talk(s.accept().await, theirs).await;
        s.is_quiet().await;
        l.is_quiet().await;
        assert_eq!(l.listener.stats().accepted, 0);
    })
    .await;
}

/// An address that refuses, or that takes the connection and says nothing: the other side's call is kept, at once.
#[tokio::test]
async fn one_side_can_not_be_reached() {
    bounded(async {
        let (s, l) = pair(open(), open()).await;
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mute_address = mute.local_addr().unwrap().to_string();
        for (near, far) in [(&s, &l), (&l, &s)] {
            let lost = tokio::spawn(near.call_at(mute_address.clone(), far.key));
            let _silent = mute.accept().await.unwrap();
            let theirs = stream(far.call(near).await);
            they_called(lost.await.unwrap());
            talk(near.accept().await, theirs).await;

            let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
            let (lost, theirs) = tokio::join!(near.call_at(closed, far.key), far.call(near));
            // Ours may fail before theirs has shown itself.
            if !matches!(lost, Err(ConnectError::Io { stage: None, .. })) {
                they_called(lost);
            }
            talk(near.accept().await, stream(theirs)).await;
            s.is_quiet().await;
            l.is_quiet().await;
        }
    })
    .await;
}

/// The rule lets nobody in: who is not trusted as a caller is refused as ever, and that touches no call of our own.
#[tokio::test]
async fn the_trust_refuses() {
    bounded(async {
        let no = || Ready { inbound: Decision::deny("no calls") };
        let (s, l) = pair(no(), no()).await;
        let (ours, theirs) = tokio::join!(s.call(&l), l.call(&s));
        assert_eq!(refused(ours).text, "no calls");
        assert_eq!(refused(theirs).text, "no calls");
        s.is_quiet().await;
        l.is_quiet().await;

        let (s, l) = pair(no(), open()).await;
        let (ours, theirs) = tokio::join!(s.call(&l), l.call(&s));
        if let Err(error) = theirs {
            assert_eq!(refused(Err(error)).text, "no calls");
        }
        talk(stream(ours), l.accept().await).await;

        let (s, l) = pair(open(), no()).await;
        let (ours, theirs) = tokio::join!(s.call(&l), l.call(&s));
        if let Err(error) = ours {
            assert_eq!(refused(Err(error)).text, "no calls");
        }
        talk(s.accept().await, stream(theirs)).await;
        s.is_quiet().await;
        l.is_quiet().await;
    })
    .await;
}

/// A session that waits in accept answers a call at once, without a connection; when it is taken, a call is a call
/// again.
#[tokio::test]
async fn a_session_that_waits_to_be_accepted() {
    bounded(async {
        let (s, l) = pair(open(), open()).await;
        for (near, far) in [(&s, &l), (&l, &s)] {
            let theirs = stream(far.call(near).await);
            while !format!("{:?}", near.dialing).contains("Waiting") {
                tokio::task::yield_now().await;
            }
            let started = far.listener.stats().started;
            they_called(near.call(far).await);
            assert_eq!(far.listener.stats().started, started);
            talk(near.accept().await, theirs).await;
            talk(stream(near.call(far).await), far.accept().await).await;
            s.is_quiet().await;
            l.is_quiet().await;
        }
    })
    .await;
}

/// While a call of theirs is accepted and still waits for room, ours does not prove itself: the peer can't accept it as
/// well.
#[tokio::test]
async fn a_call_waits_for_one_that_is_accepted() {
    bounded(async {
        let [first, second, third] = by_key();
        for (near, far) in [(first, second), (second, first)] {
            let (near, far, crowd) =
                (Node::new(near, open()).await, Node::new(far, open()).await, Node::new(third, open()).await);
            let mut queued = Vec::new();
            for _ in 0..128 {
                queued.push(stream(crowd.call(&near).await));
            }
            let theirs = tokio::spawn(far.call(&near));
            while !format!("{:?}", near.dialing).contains("Accepted") {
                tokio::task::yield_now().await;
            }
            let (proved, mut saw) = mpsc::unbounded_channel();
            let call = near.config.connect(far.listener.local_addr().to_string()).observe(move |milestone| {
                if matches!(milestone, Milestone::Proved { .. }) {
                    let _ = proved.send(());
                }
            });
            let ours = tokio::spawn(near.make(call, far.key));
            saw.recv().await.unwrap();
            assert!(!ours.is_finished());
            drop(near.accept().await);
            they_called(ours.await.unwrap());
            let theirs = stream(theirs.await.unwrap());
            for _ in 1..128 {
                near.accept().await;
            }
            talk(near.accept().await, theirs).await;
            far.is_quiet().await;
            near.is_quiet().await;
            assert_eq!(far.listener.stats().accepted, 0);
        }
    })
    .await;
}

/// Calls for different services don't stand for each other.
#[tokio::test]
async fn two_services_are_two_sessions() {
    bounded(async {
        let deciding = Held::new(Direction::Inbound, Decision::accept());
        let (s, l) = pair(open(), deciding.clone()).await;
        let call = s.config.connect(l.listener.local_addr().to_string()).service("ours");
        let ours = tokio::spawn(s.make(call, l.key));
        deciding.was_asked().await;
        let call = l.config.connect(s.listener.local_addr().to_string()).service("theirs");
        let theirs = stream(l.make(call, s.key).await);
        deciding.release();
        let ours = stream(ours.await.unwrap());
        let (at_l, at_s) = (l.accept().await, s.accept().await);
        assert_eq!((at_l.service(), at_s.service()), ("ours", "theirs"));
        talk(ours, at_l).await;
        talk(theirs, at_s).await;
        s.is_quiet().await;
        l.is_quiet().await;
    })
    .await;
}

/// Replicas that share a key, and a node that calls itself, are outside of the rule; the handshake refuses them unless
/// configured.
#[tokio::test]
async fn our_own_key() {
    bounded(async {
        let mut node = Node::new(1, open()).await;
        assert!(node.call(&node).await.is_err());
        node.config = node.config.clone().allow_own_key(true);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        node.listener = Arc::new(node.dialing.listen(socket, node.config.clone(), |_| {}).unwrap());
        let (one, other) = tokio::join!(node.call(&node), node.call(&node));
        let (first, second) = (node.accept().await, node.accept().await);
        let (one, other) = (stream(one), stream(other));
        let straight = first.session_id() == one.session_id();
        let (to_one, to_other) = if straight { (first, second) } else { (second, first) };
        talk(one, to_one).await;
        talk(other, to_other).await;
        node.is_quiet().await;
    })
    .await;
}

/// Another peer than the one that was called does not get through, and a call that fails at once leaves nothing behind.
#[tokio::test]
async fn the_wrong_peer() {
    bounded(async {
        let (s, l) = pair(open(), open()).await;
        let stranger = identity(9).public_key();
        let outcome = s.call_at(l.listener.local_addr().to_string(), stranger).await;
        assert!(matches!(outcome, Err(ConnectError::Protocol(_))), "{outcome:?}");
        let call = s.config.connect(l.listener.local_addr().to_string()).service("not a name");
        assert!(s.make(call, l.key).await.is_err());
        s.is_quiet().await;
        l.is_quiet().await;
    })
    .await;
}

/// `eager` would return before anybody knows which call is kept.
#[tokio::test]
async fn the_verdict_is_always_waited_for() {
    bounded(async {
        let (s, l) = pair(open(), Ready { inbound: Decision::deny("no calls") }).await;
        let call = s.config.connect(l.listener.local_addr().to_string()).eager();
        assert_eq!(refused(s.make(call, l.key).await).text, "no calls");
    })
    .await;
}

/// A call that is polled once and dropped is out of the book.
#[tokio::test]
async fn a_call_that_is_dropped_at_once() {
    bounded(async {
        let (s, l) = pair(open(), open()).await;
        for (near, far) in [(&s, &l), (&l, &s)] {
            let mut call = Box::pin(near.call(far));
            assert!(matches!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
            drop(call);
            talk(stream(far.call(near).await), near.accept().await).await;
        }
        s.is_quiet().await;
        l.is_quiet().await;
    })
    .await;
}
