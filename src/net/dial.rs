//! Two peers that call each other at once keep one session.

use std::future::IntoFuture;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::net::{TcpListener, ToSocketAddrs};

use crate::config::Config;
use crate::error::Reason;
use crate::identity::PublicKey;
use crate::net::calls::{Calls, OurCall, Pair, TheirCall};
use crate::net::{Connect, HandshakeFailure, Listener};
use crate::stream::{ConnectError, Stream};
use crate::trust::{Decision, DecisionFuture, Direction, Request, Trust};

/// For peers that call each other: where each calls the other, they end up with one session, not two. Cheap to clone;
/// all clones are one. A node makes its listeners with [`bind`](Self::bind) or [`listen`](Self::listen), and its calls
/// with [`connect`](Self::connect).
///
/// # The rule
///
/// It is about calls in opposite directions between two peers for the same service. Let S be the peer whose public key
/// is smaller (the 32 bytes, compared from the first), and L the other.
///
/// 1. **S decides**, when L's call has got through its proof (AUTH_I) and S's trust accepts it. If a call of S's to L
///    has succeeded since the handshake of L's call began, L's is refused ([`Reason::Denied`], `simultaneous dial: the
///    other call is kept`). If a call of S's is *committed*, that is, L has proved who it is and S is about to prove
///    itself, the decision waits until that call has ended: if it succeeds, L's is refused, otherwise L's is accepted.
///    In all other cases L's is accepted.
/// 2. L accepts calls of S's whenever its trust does.
/// 3. On both sides, while a call of the peer's is accepted and is not a session yet, no call of our own commits. Once
///    it is a session, our own calls that are under way are given up: [`Dialed::TheyCalled`].
/// 4. A call that begins while a session that the peer called for waits in [`Listener::accept`] is not made:
///    `TheyCalled`.
///
/// What follows: an application that calls a peer only while it has no session with it, of `connect` or of `accept`,
/// gets exactly one, and the `accept` of neither side gives out another. (It looks for a session and calls without
/// taking one from `accept` in between.) A call that begins when the application already holds a session is simply a
/// second call. So are several calls from the same side, which are all kept, or all answered by one of the peer's.
///
/// # Reasons
///
/// Only one side decides, by what it knows for certain, so the two can't disagree. Its decision waits only for a peer that
/// has just proved itself on the other connection: nobody waits for an address that swallows packets, as when one of
/// the two is behind a NAT. That is why it is not simply S's call that is kept. The public keys are proved, so nobody
/// else can claim a place.
///
/// # Limits
///
/// * Both sides need it. With a peer that has none there may be two sessions, and it sees a refusal where we keep our
///   own call.
/// * When the connection of the kept call breaks just after it was accepted, the other call is lost as well. The
///   session that broke comes out of `accept` and fails; call again.
/// * The waiting of S is bounded by its handshake deadline: L is told [`Reason::Busy`] when L's own trust takes so
///   long.
/// * A peer that presents our own key (replicas that share one) has no order: the rule does not apply to it.
#[derive(Clone, Debug, Default)]
pub struct SimultaneousDial {
    calls: Arc<Calls>,
}

/// What became of a call.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once; a box would show in every use")]
pub enum Dialed<T> {
    /// It is a session.
    Stream(Stream<T>),
    /// The peer has called us, and that call is kept: the session comes, or has come, out of [`Listener::accept`].
    TheyCalled,
}

impl SimultaneousDial {
    /// Knows of no calls yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// [`Listener::bind`], under the rule.
    ///
    /// # Errors
    /// Those of binding.
    pub async fn bind(&self, address: impl ToSocketAddrs, config: Config) -> io::Result<Listener> {
        self.listen(TcpListener::bind(address).await?, config, |_| {})
    }

    /// [`Listener::from_tcp`], under the rule. `on_failure` is also told of the calls that were not kept.
    ///
    /// # Errors
    /// If the socket has no local address.
    pub fn listen(
        &self,
        listener: TcpListener,
        config: Config,
        on_failure: impl Fn(&HandshakeFailure) + Send + Sync + 'static,
    ) -> io::Result<Listener> {
        Listener::start(listener, config, on_failure, Some(self.clone()))
    }

    /// Calls `peer`, and nobody else, under the rule. The verdict is always waited for: before it nobody knows which
    /// call is kept, so [`Connect::eager`] has no effect; and [`Connect::first_data`] is not sent: it would be lost with a call that is not kept. After a failure a call of the peer's that is about to become
    /// a session is waited for, within the deadline of that handshake. Dropping the future ends the call as a cut
    /// connection would, at any time.
    ///
    /// # Errors
    /// [`ConnectError`], unless the peer has called us meanwhile.
    pub async fn connect<S, T>(&self, call: Connect<S>, peer: PublicKey) -> Result<Dialed<T>, ConnectError>
    where
        Connect<S>: IntoFuture<Output = Result<Stream<T>, ConnectError>>,
    {
        let mut call = call.peer(peer);
        call.eager = false;
        call.first.clear();
        // Our own key stays the same through this call.
        call.config = call.config.current();
        let pair = Pair { own: call.config.public_key, peer, service: call.target.service.clone() };
        if pair.own == pair.peer {
            return call.await.map(Dialed::Stream);
        }
        let Some(ours) = self.calls.call(pair) else {
            return Ok(Dialed::TheyCalled);
        };
        call.config.trust = Arc::new(Gate::new(call.config.trust, &self.calls, &ours));
        let result = {
            let call = pin!(call.into_future());
            tokio::select! {
                biased;
                result = call => result,
                () = ours.they_called() => return Ok(Dialed::TheyCalled),
            }
        };
        match result {
            Ok(stream) => {
                ours.succeeded();
                Ok(Dialed::Stream(stream))
            }
            Err(error) => {
                if ours.failed().await {
                    Ok(Dialed::TheyCalled)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// For a handshake of a listener: its configuration, and its place in the book.
    pub(super) fn answer(&self, config: &Config) -> (Config, TheirCall) {
        let theirs = self.calls.answer();
        // Its own key stays the same through this handshake.
        let mut config = config.current();
        config.trust = Arc::new(Guard {
            inner: config.trust,
            calls: self.calls.clone(),
            number: theirs.number(),
            own: config.public_key,
        });
        (config, theirs)
    }
}

/// The trust of a call of ours: once it accepts the peer, we are about to prove ourselves.
struct Gate {
    inner: Arc<dyn Trust>,
    calls: Arc<Calls>,
    number: u64,
    pair: Pair,
}

impl Gate {
    fn new(inner: Arc<dyn Trust>, calls: &Arc<Calls>, ours: &OurCall) -> Self {
        Gate { inner, calls: calls.clone(), number: ours.number(), pair: ours.pair().clone() }
    }
}

impl Trust for Gate {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let decision = self.inner.decide(request).await;
            if decision.is_accept() {
                self.calls.pass(self.number, &self.pair).await;
            }
            decision
        })
    }
}

/// The trust of a call of theirs: whether it is kept is asked only for those that it accepts.
struct Guard {
    inner: Arc<dyn Trust>,
    calls: Arc<Calls>,
    number: u64,
    own: PublicKey,
}

impl Trust for Guard {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let decision = self.inner.decide(request).await;
            let peer = *request.public_key();
            let ruled = request.direction == Direction::Inbound && peer != self.own;
            if !ruled || !decision.is_accept() {
                return decision;
            }
            let pair = Pair { own: self.own, peer, service: request.service.clone() };
            if self.calls.decide(self.number, &pair).await {
                return decision;
            }
            Decision::refuse(Reason::Denied, OTHER_IS_KEPT)
        })
    }
}

/// What the peer is told of a call that is not kept.
const OTHER_IS_KEPT: &str = "simultaneous dial: the other call is kept";
