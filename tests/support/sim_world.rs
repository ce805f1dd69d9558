//! One world: who is there, what they plan, and what became of it.

use std::future::IntoFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::config::Config;
use countersign::crypto::network::NetworkKey;
use countersign::crypto::signature::SignatureInput;
use countersign::crypto::suite::Suite;
use countersign::error::{Alert, Error, Reason, Untrusted};
use countersign::identity::{Identity, PublicKey, SignFuture, Signer, SignerError};
use countersign::session::{Padding, RekeyPolicy};
use countersign::stream::{ConnectError, protocol_error};
use countersign::trust::{Decision, from_async_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::sim::{Dice, Socket, connection};
use crate::sim_app::App;
use crate::sim_judge::{Conn, Flow, PATIENCE, is_loss};
use crate::sim_plan::{Call, Caller};

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    pub clean: u64,
    pub lost: u64,
    pub no_session: u64,
    pub refused: u64,
    pub faults: u64,
    pub restarts: u64,
    pub acknowledged: u64,
    pub hung_up: u64,
    /// Virtual milliseconds.
    pub millis: u128,
}

/// What is looked at when a world has ended, or does not end.
#[derive(Clone, Default)]
struct Book {
    live: Arc<AtomicUsize>,
    violations: Arc<Mutex<Vec<String>>>,
    conns: Arc<Mutex<Vec<Arc<Conn>>>>,
}

/// What all of a world share.
struct World {
    name: String,
    book: Book,
    tally: Mutex<Tally>,
    deadline: Duration,
    /// Trust and signers take so long.
    thinks: Duration,
    signs: Duration,
    network_key: Option<NetworkKey>,
    /// Responders first.
    members: Vec<PublicKey>,
}

/// A member that calls one responder.
struct Client {
    world: Arc<World>,
    member: Config,
    stranger: Config,
    door: mpsc::UnboundedSender<Arrival>,
    target: PublicKey,
    flows: [Arc<Mutex<Flow>>; 2],
    name: String,
}

/// What arrives at a responder.
struct Arrival {
    socket: Socket,
    conn: Arc<Conn>,
    caller: Caller,
    flows: [Arc<Mutex<Flow>>; 2],
}

/// A key that takes its time.
struct Slow(Identity, Duration);

impl Signer for Slow {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        Box::pin(async move {
            if !self.1.is_zero() {
                sleep(self.1).await;
            }
            self.0.sign(input).map_err(SignerError::new)
        })
    }
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        self.clean += other.clean;
        self.lost += other.lost;
        self.no_session += other.no_session;
        self.refused += other.refused;
        self.faults += other.faults;
        self.restarts += other.restarts;
        self.acknowledged += other.acknowledged;
        self.hung_up += other.hung_up;
        self.millis += other.millis;
    }

    /// The worlds were not all peaceful, and not all ruined.
    pub fn assert_varied(&self) {
        let tenth = self.calls / 10;
        assert!(
            self.clean > 2 * tenth && self.lost > tenth && self.no_session > tenth && self.refused > tenth / 2,
            "{self:?}"
        );
        assert!(
            self.faults > tenth && self.restarts > 0 && self.acknowledged > self.calls && self.hung_up > 0,
            "{self:?}"
        );
    }
}

/// Runs a world to its end.
pub fn run(seed: u64) -> Result<Tally, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
    let book = Book::default();
    let ended = runtime.block_on(async {
        let started = Instant::now();
        let tally = timeout(END_OF_TIME, whole(seed, book.clone())).await;
        // A task that has just ended is counted until the scheduler comes around.
        tokio::task::yield_now().await;
        tally.map(|tally| Tally { millis: started.elapsed().as_millis(), ..tally })
    });
    let mut wrong = std::mem::take(&mut *book.violations.lock().unwrap());
    let (tasks, sockets) = (runtime.metrics().num_alive_tasks(), book.live.load(Ordering::Relaxed));
    match ended {
        Ok(_) if tasks > 0 || sockets > 0 => wrong.push(format!("{tasks} tasks and {sockets} sockets are left")),
        Ok(_) => {}
        Err(_) => {
            let conns = std::mem::take(&mut *book.conns.lock().unwrap());
            let busy = conns.iter().filter(|conn| *conn.busy.lock().unwrap() != [false; 2]);
            wrong.extend(busy.map(|conn| format!("never ends: {conn:?}")));
            wrong.push("it never ends".into());
        }
    }
    drop(runtime);
    if wrong.is_empty() { Ok(ended.expect("it ended")) } else { Err(wrong.join("\n")) }
}

async fn whole(seed: u64, book: Book) -> Tally {
    let mut dice = Dice::new(seed);
    let key = |number: usize| Identity::from_seed(&mut [number as u8; 32]).expect("identity");
    let (members, responders) = (dice.size(3, 8), dice.size(1, 2));
    let world = Arc::new(World {
        name: format!("world {seed}"),
        book,
        tally: Mutex::default(),
        deadline: Duration::from_secs(dice.pick(&[2, 10, 30])),
        thinks: if dice.once_in(6) { dice.millis(1, 12_000) } else { Duration::ZERO },
        signs: if dice.once_in(8) { dice.millis(1, 4_000) } else { Duration::ZERO },
        network_key: dice.once_in(3).then(|| NetworkKey::take(&mut [7; 32]).expect("network key")),
        members: (1..=members).map(|number| key(number).public_key()).collect(),
    });
    let (mut nodes, mut doors) = (JoinSet::new(), Vec::new());
    for number in 1..=responders {
        let (door, arrivals) = mpsc::unbounded_channel();
        let restarts = (0..dice.below(3)).map(|_| (dice.millis(1, 20_000), dice.millis(0, 3_000))).collect();
        nodes.spawn(respond(world.clone(), world.config(key(number), &mut dice), arrivals, restarts));
        doors.push(door);
    }
    let (mut callers, mut clients) = (JoinSet::new(), Vec::new());
    for number in responders + 1..=members {
        let to = dice.below(doors.len() as u64) as usize;
        let flow = |number: usize| Arc::new(Mutex::new(Flow { number: number as u64, ..Flow::default() }));
        let client = Arc::new(Client {
            world: world.clone(),
            member: world.config(key(number), &mut dice),
            stranger: world.config(key(99), &mut dice),
            door: doors[to].clone(),
            target: world.members[to],
            flows: [flow(2 * number), flow(2 * number + 1)],
            name: format!("{number} to {}", to + 1),
        });
        clients.push(client.clone());
        let mut dice = dice.fork();
        callers.spawn(async move {
            for _ in 0..dice.size(2, 5) {
                sleep(dice.millis(0, 5_000)).await;
                client.call(Call::new(&mut dice), &mut dice).await;
            }
        });
    }
    join(&mut callers).await;
    // The network is healthy, nothing is restarted any more, and all gets through.
    sleep(END_OF_RESTARTS).await;
    for client in clients {
        let conn = client.call(Call::healthy(&mut dice), &mut dice).await;
        for flow in &client.flows {
            let flow = flow.lock().unwrap();
            if flow.acked != flow.received && !conn.slow {
                conn.violation(0, format_args!("not all got through at last: {flow:?}"));
            }
            world.tally(|tally| tally.acknowledged += flow.acked);
        }
    }
    drop(doors);
    join(&mut nodes).await;
    world.tally(|tally| tally.clone())
}

impl World {
    fn tally<R>(&self, note: impl FnOnce(&mut Tally) -> R) -> R {
        note(&mut self.tally.lock().unwrap())
    }

    /// The settings of a member; no two need be the same.
    fn config(&self, identity: Identity, dice: &mut Dice) -> Config {
        let (members, thinks) = (self.members.clone(), self.thinks);
        let trust = from_async_fn(move |request| {
            let known = members.contains(request.public_key());
            async move {
                if !thinks.is_zero() {
                    sleep(thinks).await;
                }
                if known { Decision::accept() } else { Decision::not_trusted() }
            }
        });
        let mut config = Config::new(Slow(identity, self.signs), trust)
            .services(["talk"])
            .handshake_timeout(self.deadline)
            .padding(dice.pick(&["none", "none", "block:512", "pow2"]).parse::<Padding>().expect("padding"))
            .auth_padding(dice.pick(&[0, 1_024]))
            .rekey(RekeyPolicy::new(dice.pick(&[1, 100, 5_000, u64::MAX]), dice.pick(&[HOUR, Duration::from_secs(2)])));
        if dice.once_in(2) {
            // The last is what everybody has.
            let mut suites = vec![dice.pick(&Suite::ALL)];
            suites.extend(Some(Suite::ALL[0]).filter(|last| !suites.contains(last)));
            config = config.suites(suites);
        }
        match &self.network_key {
            Some(key) => config.network_key(key.clone()),
            None => config,
        }
    }
}

impl Client {
    /// Calls, and talks if somebody answers.
    async fn call(&self, call: Call, dice: &mut Dice) -> Arc<Conn> {
        let conn = self.try_call(call, dice).await;
        conn.busy.lock().unwrap()[0] = false;
        conn
    }

    async fn try_call(&self, call: Call, dice: &mut Dice) -> Arc<Conn> {
        let world = &self.world;
        let Call { caller, eager, quality, fault, plans, hangs_up } = call;
        let handshake = quality.handshake() + (world.thinks + world.signs) * 2;
        let (near, far, witness) = connection(quality, fault, dice.fork(), &world.book.live);
        let number = world.tally(|tally| {
            tally.calls += 1;
            tally.calls
        });
        let conn = Arc::new(Conn {
            name: format!("{}, call {number}, {} by {caller:?}", world.name, self.name),
            witness,
            plans,
            eager,
            opens: handshake,
            slow: handshake > world.deadline.mul_f32(0.8),
            unruly: Mutex::default(),
            failed: Mutex::default(),
            directions: Mutex::default(),
            busy: Mutex::new([true; 2]),
            violations: world.book.violations.clone(),
        });
        world.book.conns.lock().unwrap().push(conn.clone());
        let arrival = Arrival { socket: far, conn: conn.clone(), caller, flows: self.flows.clone() };
        self.door.send(arrival).unwrap_or_else(|_| panic!("a responder is gone"));
        if let Caller::Noise(len) = caller {
            make_noise(near, &conn, len, dice).await;
            return conn;
        }
        let config = match caller {
            Caller::Stranger => &self.stranger,
            Caller::Outsider => &self.member.clone().network_key(NetworkKey::take(&mut [8; 32]).expect("network key")),
            _ => &self.member,
        };
        let other = if caller == Caller::Mistaken { self.member.public_key() } else { self.target };
        let service = if caller == Caller::Curious { "listen" } else { "talk" };
        let mut connect = config.connect_over(near).peer(other).service(service);
        if eager {
            connect = connect.eager();
        }
        let started = Instant::now();
        let mut connecting = connect.into_future();
        let Ok(connected) = timeout(hangs_up.unwrap_or(END_OF_TIME), &mut connecting).await else {
            world.tally(|tally| tally.hung_up += 1);
            conn.set_unruly(0);
            return conn;
        };
        world.check_deadline(&conn, 0, started);
        match connected {
            Ok(mut stream) if caller != Caller::Member => {
                // Only an eager caller gets here. What it writes goes nowhere.
                let knocks = async {
                    stream.write_all(b"let me in").await?;
                    stream.read(&mut [0; 8]).await
                };
                match conn.patient(0, false, knocks).await {
                    Some(Err(error)) if protocol_error(&error).is_some_and(|error| caller.is_told(world, error)) => {
                        world.tally(|tally| tally.refused += 1);
                        conn.set_unruly(0);
                    }
                    Some(Err(error)) => conn.session_failed(0, &error),
                    Some(Ok(count)) => conn.violation(0, format_args!("{count} bytes for who is not trusted")),
                    None => {}
                }
            }
            Ok(stream) => {
                let clean = App::new(&conn, 0, &self.flows[0], &self.flows[1]).run(stream).await;
                if !clean {
                    conn.set_unruly(0);
                }
                world.tally(|tally| if clean { tally.clean += 1 } else { tally.lost += 1 });
            }
            Err(error) => world.judge(&conn, 0, caller, &error),
        }
        world.tally(|tally| tally.faults += u64::from(conn.witness.fate(|fate| fate.fired)));
        conn
    }
}

async fn make_noise(mut near: Socket, conn: &Conn, len: usize, dice: &mut Dice) {
    conn.set_unruly(0);
    let bytes: Vec<u8> = (0..len).map(|_| dice.below(256) as u8).collect();
    let all = async {
        let _ = near.write_all(&bytes).await;
        while near.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
    };
    let _ = timeout(PATIENCE, all).await;
}

/// A responder: all its tasks end at a restart, and it comes back with the same identity.
async fn respond(
    world: Arc<World>,
    config: Config,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    restarts: Vec<(Duration, Duration)>,
) {
    let mut restarts = restarts.into_iter();
    let (mut running, mut conns) = (JoinSet::new(), Vec::<Arc<Conn>>::new());
    let mut next = restarts.next().map(|(after, down)| (Instant::now() + after, down));
    loop {
        let (at, down) = next.unwrap_or((Instant::now() + END_OF_TIME, Duration::ZERO));
        tokio::select! {
            biased;
            arrival = arrivals.recv() => {
                let Some(arrival) = arrival else { break };
                conns.push(arrival.conn.clone());
                running.spawn(answer(world.clone(), config.clone(), arrival));
            }
            () = sleep_until(at) => {
                world.tally(|tally| tally.restarts += 1);
                conns.drain(..).for_each(|conn| conn.set_unruly(1));
                running = JoinSet::new();
                let end = Instant::now() + down;
                while let Ok(Some(arrival)) = timeout_at(end, arrivals.recv()).await {
                    arrival.conn.set_unruly(1);
                }
                next = restarts.next().map(|(after, down)| (Instant::now() + after, down));
            }
            Some(ended) = running.join_next(), if !running.is_empty() => ended.expect("an answer"),
        }
    }
    join(&mut running).await;
}

async fn answer(world: Arc<World>, config: Config, arrival: Arrival) {
    let Arrival { socket, conn, caller, flows } = arrival;
    let started = Instant::now();
    let accepted = config.accept_over(socket, None).await;
    world.check_deadline(&conn, 1, started);
    let silent = caller == Caller::Outsider && world.network_key.is_some();
    if silent && conn.witness.fate(|fate| fate.written[1]) > 0 {
        conn.violation(1, "a word for somebody outside of the network");
    }
    match accepted {
        Ok(_) if caller != Caller::Member => conn.violation(1, "somebody who is not trusted reaches the application"),
        Ok(stream) => {
            if !App::new(&conn, 1, &flows[1], &flows[0]).run(stream).await {
                conn.set_unruly(1);
            }
        }
        Err(error) => world.judge(&conn, 1, caller, &error),
    }
    conn.busy.lock().unwrap()[1] = false;
}

impl World {
    fn check_deadline(&self, conn: &Conn, side: usize, started: Instant) {
        let linger = if side == 1 { Duration::from_secs(1) } else { Duration::ZERO };
        let took = started.elapsed();
        if took > self.deadline + LAST_WORDS + linger {
            conn.violation(side, format_args!("a handshake took {took:?}, its deadline is {:?}", self.deadline));
        }
    }

    /// Judges why a handshake failed.
    fn judge(&self, conn: &Conn, side: usize, caller: Caller, error: &ConnectError) {
        let broken = conn.is_broken_for(side);
        let late = conn.may_be_late() || matches!(caller, Caller::Outsider | Caller::Noise(_));
        let explained = match error {
            ConnectError::Io { error, .. } => broken && is_loss(error),
            ConnectError::Timeout { .. } => late,
            ConnectError::Protocol(failure) => match &failure.error {
                Error::Truncated => broken || late,
                Error::AlertReceived(alert) if alert.alert == Alert::Timeout => late && !alert.authenticated,
                Error::AlertReceived(alert) if alert.alert == Alert::Internal => conn.slow && !self.signs.is_zero(),
                Error::Signer(_) => conn.slow && !self.signs.is_zero(),
                Error::Refused(refusal) | Error::Denied(refusal) if refusal.reason == Reason::Busy => conn.slow,
                error if side == 0 => caller.is_told(self, error),
                error => caller.is_noticed(self, error),
            },
            _ => false,
        };
        if !explained {
            conn.violation(side, format_args!("unexplained: {error:?}"));
        }
        conn.set_unruly(side);
        if side == 0 {
            let refused = matches!(error, ConnectError::Protocol(failure) if caller.is_told(self, &failure.error));
            self.tally(|tally| if refused { tally.refused += 1 } else { tally.no_session += 1 });
        }
    }
}

impl Caller {
    /// Whether this is why such a caller does not get through, as it sees it.
    fn is_told(self, world: &World, error: &Error) -> bool {
        match (self, error) {
            (Caller::Stranger, Error::Refused(refusal)) => refusal.reason == Reason::NotTrusted,
            (Caller::Curious, Error::Refused(refusal)) => refusal.reason == Reason::ServiceUnavailable,
            (Caller::Mistaken, Error::Untrusted(Untrusted::NotExpected { .. })) => true,
            (Caller::Outsider, Error::AlertReceived(alert)) => {
                alert.alert == Alert::NetworkKey && world.network_key.is_none()
            }
            _ => false,
        }
    }

    /// As `is_told`, as the responder sees it.
    fn is_noticed(self, world: &World, error: &Error) -> bool {
        match (self, error) {
            (Caller::Stranger, Error::Denied(refusal)) => refusal.reason == Reason::NotTrusted,
            (Caller::Curious, Error::Denied(refusal)) => refusal.reason == Reason::ServiceUnavailable,
            (Caller::Mistaken, Error::AlertReceived(alert)) => alert.alert == Alert::Refused && !alert.authenticated,
            (Caller::Outsider | Caller::Noise(_), Error::Untrusted(Untrusted::NetworkKey)) => {
                world.network_key.is_some()
            }
            (Caller::Outsider, Error::Untrusted(Untrusted::NetworkKeyUnexpected)) => world.network_key.is_none(),
            (Caller::Noise(_), Error::Malformed(_) | Error::Unexpected { .. }) => true,
            _ => false,
        }
    }
}

async fn join(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a task");
    }
}

/// The end of a world that hangs; none takes so long.
const END_OF_TIME: Duration = Duration::from_secs(24 * 3_600);
const END_OF_RESTARTS: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// How long after the deadline a handshake may still speak, and the timers' milliseconds.
const LAST_WORDS: Duration = Duration::from_millis(505);
