use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec;

use super::*;
use crate::identity::{Credential, Identity, PublicKey};
use crate::trust::{Direction, PatternList, Pinned, from_async_fn, from_fn};

fn key(seed: u8) -> PublicKey {
    Identity::from_seed(&mut [seed; 32]).unwrap().public_key()
}

fn request() -> Request {
    Request::new(Credential::RawKey(key(1)), "svc".into(), None, Direction::Inbound)
}

/// Polls until it is done.
fn decide(trust: &dyn Trust) -> Decision {
    let request = request();
    let mut future = trust.decide(&request);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(decision) = future.as_mut().poll(&mut context) {
            return decision;
        }
    }
}

/// Pending so many times.
struct Slow(usize);

impl Future for Slow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        context.waker().wake_by_ref();
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

fn says(decision: Decision) -> Box<dyn Trust> {
    Box::new(from_fn(move |_| decision.clone()))
}

fn says_late(times: usize, decision: Decision) -> Box<dyn Trust> {
    Box::new(from_async_fn(move |_| {
        let decision = decision.clone();
        async move {
            Slow(times).await;
            decision
        }
    }))
}

fn accepts(rule: &str) -> Decision {
    Decision::accept().because(rule)
}

#[test]
fn the_first_that_accepts_decides_even_if_it_is_late() {
    let rules = || vec![says(Decision::not_trusted()), says_late(5, accepts("late")), says(accepts("soon"))];
    assert_eq!(decide(&any_of(rules())).rule(), "any of 3: rule 2: late");
    assert!(decide(&any_of(rules())).is_accept());
}

#[test]
fn the_refusal_that_tells_most_is_given() {
    for (decisions, text) in [
        (vec![Decision::not_trusted(), Decision::deny("later"), Decision::deny("latest")], "later"),
        (vec![Decision::not_trusted(), Decision::refuse(Reason::NotTrusted, "why")], "why"),
        (vec![Decision::not_trusted(), Decision::refuse(Reason::Busy, ""), Decision::deny("x")], ""),
    ] {
        let Decision::Refuse(denial) = decide(&any_of(decisions.into_iter().map(says))) else { panic!("accepted") };
        assert_eq!(denial.refusal.text, text);
    }
    let rules = vec![says(Decision::not_trusted().because("one")), says(Decision::deny(""))];
    let decision = decide(&any_of(rules));
    assert_eq!(decision.rule(), "none of 2 accepts: rule 1: one; rule 2");
    let Decision::Refuse(denial) = decision else { panic!("accepted") };
    assert_eq!(denial.refusal.reason, Reason::Denied);
}

#[test]
fn empty_lists_accept_nobody() {
    assert_eq!(decide(&any_of([])), Decision::not_trusted().because("none of 0 accepts"));
    assert_eq!(decide(&all_of([])), Decision::not_trusted().because("all of 0: nobody is accepted"));
}

#[test]
fn all_of_is_one_grant() {
    let seconds = Duration::from_secs;
    let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
    let one = Grant { names: names(&["a", "b"]), until: Some(seconds(9)), rule: "one".into(), ..Grant::default() };
    let two =
        Grant { name: Some("two".into()), names: names(&["b", "c"]), until: Some(seconds(5)), ..Grant::default() };
    let three = Grant { name: Some("three".into()), predecessor: Some(key(3)), ..Grant::default() };
    let rules = [one, two, three].map(|grant| says_late(2, Decision::Accept(grant)));
    let Decision::Accept(grant) = decide(&all_of(rules)) else { panic!("refused") };
    assert_eq!(
        (grant.name.as_deref(), grant.names),
        (Some("two"), names(&["b"])),
        "a name that one does not give is none"
    );
    assert_eq!((grant.until, grant.predecessor), (Some(seconds(5)), Some(key(3))));
    assert_eq!(grant.rule, "all of 3: rule 1: one; rule 2; rule 3");
    let refused = decide(&all_of([says(accepts("yes")), says_late(1, Decision::deny("no").because("two"))]));
    assert_eq!(refused, Decision::deny("no").because("all of 2: rule 2: two"));
}

/// A rule that could not answer has not decided: nobody is let in or thrown out for that.
#[test]
fn a_busy_rule_has_not_decided() {
    let busy = || from_fn(|_| Decision::refuse(Reason::Busy, "later"));
    let is_busy =
        |decision: Decision| matches!(decision, Decision::Refuse(denial) if denial.refusal.reason == Reason::Busy);
    assert!(is_busy(decide(&from_fn(|_| Decision::accept()).except(busy()))));
    let expired = || Box::new(from_fn(|_| Decision::deny("certificate expired"))) as Box<dyn Trust>;
    assert!(is_busy(decide(&any_of([expired(), Box::new(busy())]))));
    assert!(decide(&any_of([Box::new(busy()) as Box<dyn Trust>, says(accepts("yes"))])).is_accept());
    assert!(is_busy(decide(&all_of([says(accepts("yes")), Box::new(busy())]))));
}

#[test]
fn except_refuses_what_the_other_accepts() {
    let bad = || Pinned::new([key(1).into()]);
    let decision = decide(&from_fn(|_| Decision::accept()).except(bad()));
    let fingerprint = key(1).fingerprint();
    assert_eq!(decision, Decision::not_trusted().because(format!("except: pinned key {fingerprint}")));
    let other = Pinned::new([key(2).into()]);
    assert!(decide(&bad().except(other)).is_accept());
    // No rule that comes later brings back what is excepted inside, but one beside it does.
    let inner = from_fn(|_| Decision::accept()).except(bad());
    assert!(!decide(&all_of([Box::new(inner.clone()) as Box<dyn Trust>, says(accepts(""))])).is_accept());
    assert!(decide(&any_of([Box::new(inner) as Box<dyn Trust>, says(accepts(""))])).is_accept());
}

/// A condition on names needs names that the rule verified; that the peer's key is trusted is not enough.
#[test]
fn no_name_no_match() {
    let names = || Conditions::new().names(PatternList::parse("*").unwrap());
    let named = Grant { name: Some("db.prod.example".into()), ..Grant::default() };
    let pinned = Pinned::new([key(1).into()]);
    let rules: [Box<dyn Trust>; 2] =
        [Box::new(pinned.when(names())), Box::new(says(Decision::Accept(named)).when(names()))];
    let decision = decide(&any_of(rules));
    assert!(!decision.is_accept());
    assert!(decision.rule().contains("no CA vouches for a name of the peer"), "{}", decision.rule());
}

#[test]
fn when_keeps_the_refusal_of_the_rule() {
    let decision = decide(&says(Decision::deny("no").because("inner")).when(Conditions::new()));
    assert_eq!(decision, Decision::deny("no").because("inner"));
    let services = Conditions::new().services(PatternList::parse("other").unwrap());
    let decision = decide(&Pinned::new([key(1).into()]).when(services));
    let rule = format!("pinned key {}: the service \"svc\" is not among other", key(1).fingerprint());
    assert_eq!(decision, Decision::refuse(Reason::ServiceUnavailable, "").because(rule));
}

struct Watched {
    asked: Arc<AtomicUsize>,
    changes: bool,
}

impl Trust for Watched {
    fn decide<'a>(&'a self, _: &'a Request) -> DecisionFuture<'a> {
        Decision::accept().ready()
    }

    fn watch(&self, _: &Weak<dyn Watcher>) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.changes
    }
}

struct Nobody;

impl Watcher for Nobody {
    fn changed(&self) {}
}

#[test]
fn every_member_is_watched() {
    let asked = Arc::new(AtomicUsize::new(0));
    let watched = |changes| Box::new(Watched { asked: asked.clone(), changes }) as Box<dyn Trust>;
    let tree = |changes: [bool; 6]| {
        let [a, b, c, d, e, f] = changes.map(watched);
        any_of([all_of([a, b]).boxed(), c.when(Conditions::new()).boxed(), d.except(e).boxed(), f])
    };
    let nobody = Weak::<Nobody>::new();
    let nobody: Weak<dyn Watcher> = nobody;
    assert!(!tree([false; 6]).watch(&nobody));
    assert_eq!(asked.swap(0, Ordering::Relaxed), 6);
    for changes in 0..6 {
        let mut all = [false; 6];
        all[changes] = true;
        assert!(tree(all).watch(&nobody), "{changes}");
        assert_eq!(asked.swap(0, Ordering::Relaxed), 6);
    }
    assert!(tree([true; 6]).watch(&nobody));
    assert_eq!(asked.load(Ordering::Relaxed), 6);
}

trait Boxed {
    fn boxed(self) -> Box<dyn Trust>;
}

impl<T: Trust + 'static> Boxed for T {
    fn boxed(self) -> Box<dyn Trust> {
        Box::new(self)
    }
}
