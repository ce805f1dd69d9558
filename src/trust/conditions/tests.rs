use std::format;

use super::*;
use crate::identity::{Credential, Identity};

fn list(text: &str) -> PatternList {
    PatternList::parse(text).unwrap()
}

fn request() -> Request {
    let key = Identity::from_seed(&mut [1; 32]).unwrap().public_key();
    Request::new(Credential::RawKey(key), "db-1".into(), None, Direction::Inbound)
}

fn named(names: &[&str]) -> Grant {
    Grant { names: names.iter().map(|name| name.parse().unwrap()).collect(), rule: "r".into(), ..Grant::default() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn without_conditions_everything_is_well() {
    assert_eq!(Conditions::new().check(&request(), &Grant::default()), Ok(()));
}

#[test]
fn services() {
    let conditions = Conditions::new().services(list("db-*,!db-2"));
    let mut request = request();
    assert_eq!(conditions.check(&request, &Grant::default()), Ok(()));
    request.service = "x".into();
    let why = conditions.check(&request, &Grant::default()).unwrap_err();
    assert_eq!(why, "the service \"x\" is not among db-*,!db-2");
    let Decision::Refuse(denial) = conditions.apply(&request, named(&[])) else { panic!("accepted") };
    assert_eq!((denial.refusal.reason, &*denial.refusal.text), (Reason::ServiceUnavailable, ""));
    assert_eq!(denial.rule, "r: the service \"x\" is not among db-*,!db-2");
    request.service = "db-2".into();
    assert!(conditions.check(&request, &Grant::default()).is_err());
    // Twice is both.
    request.service = "db-1".into();
    assert!(conditions.clone().services(list("other")).check(&request, &Grant::default()).is_err());
}

#[test]
fn names_are_those_that_a_ca_verified() {
    let conditions = Conditions::new().names(list("*.prod.example,!test.*"));
    let check = |names: &[&str]| conditions.check(&request(), &named(names));
    assert_eq!(check(&["a.prod.example"]), Ok(()));
    let why = check(&[]).unwrap_err();
    assert!(why.starts_with("no CA vouches for a name of the peer"), "{why}");
    assert_eq!(check(&["b.example"]).unwrap_err(), "no name of the peer (b.example) is among *.prod.example,!test.*");
    // One name that is taken out is enough.
    let why = check(&["a.prod.example", "test.prod.example"]).unwrap_err();
    assert_eq!(why, "the name test.prod.example is not among *.prod.example,!test.*");
    // A grant vouches only for the names that the condition is about.
    let Decision::Accept(grant) = conditions.apply(&request(), named(&["x.other", "a.prod.example"])) else {
        panic!("refused")
    };
    assert_eq!(grant.names, named(&["a.prod.example"]).names);
}

#[test]
fn directions() {
    let both = |direction| Conditions::new().direction(direction).check(&request(), &Grant::default());
    assert_eq!(both(Direction::Inbound), Ok(()));
    assert_eq!(both(Direction::Outbound).unwrap_err(), "the peer called us, and it holds only where we call");
    let never = Conditions::new().direction(Direction::Inbound).direction(Direction::Outbound);
    assert!(never.check(&request(), &Grant::default()).is_err());
}

#[cfg(feature = "std")]
#[test]
fn addresses() {
    let conditions = Conditions::new().from(AddressList::parse("10.0.0.0/8,!10.9.0.0/16").unwrap());
    let check = |address: Option<&str>| {
        let mut request = request();
        request.address = address.map(|address| address.parse().unwrap());
        conditions.check(&request, &Grant::default())
    };
    assert_eq!(check(Some("10.0.0.1:1")), Ok(()));
    assert_eq!(check(Some("[::ffff:10.0.0.1]:1")), Ok(()));
    let why = check(Some("[::ffff:10.9.0.1]:1")).unwrap_err();
    assert_eq!(why, "the address 10.9.0.1 is not among 10.0.0.0/8,!10.9.0.0/16");
    let why = check(None).unwrap_err();
    assert_eq!(why, "the peer has no address, and one among 10.0.0.0/8,!10.9.0.0/16 is expected");
}

#[test]
fn times_start_end_and_need_a_clock() {
    let conditions = Conditions::new().not_before(seconds(100)).until(seconds(200)).until(seconds(300));
    let check = |time| conditions.check(&request().at(seconds(time)), &Grant::default());
    assert_eq!(check(99).unwrap_err(), "not valid before 1970-01-01 00:01:40 UTC");
    assert_eq!((check(100), check(199)), (Ok(()), Ok(())));
    assert_eq!(check(200).unwrap_err(), "expired at 1970-01-01 00:03:20 UTC");
    for conditions in [&conditions, &Conditions::new().not_before(seconds(0)), &Conditions::new().until(Duration::MAX)]
    {
        let why = conditions.check(&request(), &Grant::default()).unwrap_err();
        assert_eq!(why, "it holds for a time only, and there is no clock");
    }
}

#[test]
fn the_end_is_when_to_ask_again() {
    let conditions = Conditions::new().until(seconds(200));
    for (before, after) in [(None, 200), (Some(100), 100), (Some(300), 200)] {
        let grant = Grant { until: before.map(seconds), ..Grant::default() };
        let Decision::Accept(grant) = conditions.apply(&request().at(seconds(1)), grant) else { panic!("refused") };
        assert_eq!(grant.until, Some(seconds(after)));
    }
    assert!(format!("{conditions:?}").contains("200"));
}
