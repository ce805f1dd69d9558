//! The book of live sessions: who enters one, who tells of a change, and who reads the book.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use countersign::crypto::signature::PublicKey;
use countersign::error::{Reason, Refusal};
use countersign::identity::Credential;
use countersign::trust::{Decision, DecisionFuture, Direction, Request, Trust, Watcher};
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::live::{Accepted, Live, Place, Revoke};

/// Trusts until it is told not to.
#[derive(Default)]
struct Fickle {
    refuses: AtomicBool,
    watcher: Mutex<Option<Weak<dyn Watcher>>>,
}

impl Fickle {
    fn decision(&self) -> Decision {
        if self.refuses.load(Ordering::SeqCst) { Decision::not_trusted() } else { Decision::accept() }
    }

    fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
        let watcher = self.watcher.lock().unwrap().as_ref().and_then(Weak::upgrade);
        watcher.expect("it watches").changed();
    }
}

impl Trust for Fickle {
    fn decide<'a>(&'a self, _: &'a Request) -> DecisionFuture<'a> {
        self.decision().ready()
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        *self.watcher.lock().unwrap() = Some(watcher.clone());
        true
    }
}

/// A session, which only ends.
#[derive(Default)]
struct Session(AtomicBool);

impl Revoke for Session {
    fn revoke(&self, refusal: Refusal) {
        assert_eq!(refusal.reason, Reason::NotTrusted);
        self.0.store(true, Ordering::SeqCst);
    }
}

fn enter(live: &Live, session: &Arc<Session>, changes: u64, until: Option<Duration>) -> bool {
    let key: PublicKey = KEY.parse().unwrap();
    let request = Request::new(Credential::RawKey(key), String::new(), None, Direction::Inbound);
    let session: Weak<Session> = Arc::downgrade(session);
    live.enter(Accepted { request, until, changes }, session, PLACE)
}

/// As the supervisors do, but without a timer, which would only hide that nobody has woken them; until the sessions have ended.
fn supervise(live: &Live, trust: &Fickle, sessions: &[Arc<Session>]) {
    let (mut all, mut seen) = (true, live.changes());
    loop {
        for entry in live.due(NOW, all) {
            let question = entry.question(NOW, NOW);
            entry.apply(question, trust.decision(), NOW);
        }
        let planned = live.plan();
        if sessions.iter().all(|session| session.0.load(Ordering::SeqCst)) {
            return;
        }
        if planned > NOW {
            block_on(poll_fn(|cx| live.poll_news(PLACE, seen, planned, cx)));
        }
        let changes = live.changes();
        all = changes != seen;
        seen = changes;
    }
}

/// Trust changes while a session that it has accepted is being entered, and while another reads the book: the session ends all the same.
pub(crate) fn change_reaches_session() {
    let trust = Arc::new(Fickle::default());
    let live = Live::new(trust.clone());
    let changes = live.changes();
    assert!(trust.decision().is_accept());
    let session = Arc::new(Session::default());
    let changer = {
        let trust = trust.clone();
        thread::spawn(move || trust.refuse())
    };
    assert!(enter(&live, &session, changes, None));
    supervise(&live, &trust, &[session]);
    changer.join().unwrap();
}

/// The same after the decision and before the session is entered, while another, who may have asked about everybody already, reads the book.
pub(crate) fn change_before_entry() {
    let trust = Arc::new(Fickle::default());
    let live = Live::new(trust.clone());
    let sessions = [Arc::<Session>::default(), Arc::default()];
    assert!(enter(&live, &sessions[0], live.changes(), None));
    let reader = {
        let (live, trust, sessions) = (live.clone(), trust.clone(), sessions.clone());
        thread::spawn(move || supervise(&live, &trust, &sessions))
    };
    let changes = live.changes();
    assert!(trust.decision().is_accept());
    trust.refuse();
    assert!(!enter(&live, &sessions[1], changes, None), "somebody reads already");
    reader.join().unwrap();
}

/// Whoever reads the book sleeps until far away, or is about to; then a session is entered that is due sooner. The two take their locks one after the
/// other, and neither waits for the other for good.
pub(crate) fn sooner_wakes_reader() {
    let live = Live::new(Arc::new(Fickle::default()));
    let (first, second) = (Arc::new(Session::default()), Arc::new(Session::default()));
    assert!(enter(&live, &first, 0, None));
    let (planned, seen) = (live.plan(), live.changes());
    assert_eq!(planned, Duration::MAX);
    let reader = {
        let live = live.clone();
        thread::spawn(move || block_on(poll_fn(|cx| live.poll_news(PLACE, seen, planned, cx))))
    };
    assert!(!enter(&live, &second, 0, Some(NOW)), "somebody reads already");
    reader.join().unwrap();
    assert_eq!(live.due(NOW, false).len(), 1);
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
const NOW: Duration = Duration::from_secs(1);
const PLACE: Place = Place(1);
