//! What limits a rule: services, verified names, addresses, who called, and time.

use core::time::Duration;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::Reason;
use crate::identity::Name;
#[cfg(feature = "std")]
use crate::trust::address::AddressList;
use crate::trust::date::show;
use crate::trust::decision::{Decision, Direction, Grant, Request};
use crate::trust::pattern::PatternList;

/// Conditions, all of which have to hold; without any, everything is well. A condition that is set twice has to hold
/// twice.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    services: Vec<PatternList>,
    names: Vec<PatternList>,
    #[cfg(feature = "std")]
    from: Vec<AddressList>,
    directions: Vec<Direction>,
    not_before: Option<Duration>,
    until: Option<Duration>,
}

/// A condition that does not hold.
struct Unmet {
    reason: Reason,
    why: String,
}

impl Conditions {
    /// No conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The service that the initiator names has to match.
    #[must_use]
    pub fn services(mut self, services: PatternList) -> Self {
        self.services.push(services);
        self
    }

    /// A name that a CA vouches for has to match, and none that the list takes out with `!` may be there. A peer
    /// without verified names does not match. What is accepted has the names that match only.
    #[must_use]
    pub fn names(mut self, names: PatternList) -> Self {
        self.names.push(names);
        self
    }

    /// The peer's address has to match. A peer without an address does not.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn from(mut self, from: AddressList) -> Self {
        self.from.push(from);
        self
    }

    /// Who calls whom.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.directions.push(direction);
        self
    }

    /// Not before this time, since 1970 in UTC. Without a clock nothing matches.
    #[must_use]
    pub fn not_before(mut self, time: Duration) -> Self {
        self.not_before = Some(self.not_before.map_or(time, |other| other.max(time)));
        self
    }

    /// Only before this time, since 1970 in UTC: then live sessions are decided about again. Without a clock nothing
    /// matches.
    #[must_use]
    pub fn until(mut self, time: Duration) -> Self {
        self.until = Some(self.until.map_or(time, |other| other.min(time)));
        self
    }

    /// Whether the conditions hold for a peer that would be granted so much.
    ///
    /// # Errors
    /// The condition that does not hold, for people on this side.
    pub fn check(&self, request: &Request, grant: &Grant) -> Result<(), String> {
        self.hold(request, grant).map_err(|unmet| unmet.why)
    }

    /// What becomes of a grant: it is limited by the conditions, or refused if one does not hold. The refusal tells the
    /// peer nothing but its reason.
    pub fn apply(&self, request: &Request, mut grant: Grant) -> Decision {
        if let Err(Unmet { reason, why }) = self.hold(request, &grant) {
            let rule = if grant.rule.is_empty() { why } else { alloc::format!("{}: {why}", grant.rule) };
            return Decision::refuse(reason, "").because(rule);
        }
        if !self.names.is_empty() {
            grant.names.retain(|name| self.lets_in(name));
        }
        if let Some(until) = self.until {
            grant.limit(until);
        }
        Decision::Accept(grant)
    }

    fn hold(&self, request: &Request, grant: &Grant) -> Result<(), Unmet> {
        self.check_time(request.time)?;
        self.check_direction(request.direction)?;
        #[cfg(feature = "std")]
        self.check_address(request)?;
        self.check_names(&grant.names)?;
        self.check_service(&request.service)
    }

    fn check_time(&self, time: Option<Duration>) -> Result<(), Unmet> {
        if self.not_before.is_none() && self.until.is_none() {
            return Ok(());
        }
        let time = time.ok_or_else(|| unmet("it holds for a time only, and there is no clock"))?;
        if let Some(start) = self.not_before.filter(|start| time < *start) {
            return Err(unmet(alloc::format!("not valid before {}", show(start))));
        }
        match self.until.filter(|until| time >= *until) {
            Some(until) => Err(unmet(alloc::format!("expired at {}", show(until)))),
            None => Ok(()),
        }
    }

    fn check_direction(&self, direction: Direction) -> Result<(), Unmet> {
        if self.directions.iter().all(|wanted| *wanted == direction) {
            return Ok(());
        }
        Err(unmet(match direction {
            Direction::Inbound => "the peer called us, and it holds only where we call",
            Direction::Outbound => "we called the peer, and it holds only where the peer calls",
        }))
    }

    #[cfg(feature = "std")]
    fn check_address(&self, request: &Request) -> Result<(), Unmet> {
        let address = request.address.map(|address| address.ip().to_canonical());
        let mut from = self.from.iter();
        match from.find(|list| !address.is_some_and(|address| list.matches(address))) {
            Some(list) => Err(unmet(match address {
                Some(address) => alloc::format!("the address {address} is not among {list}"),
                None => alloc::format!("the peer has no address, and one among {list} is expected"),
            })),
            None => Ok(()),
        }
    }

    fn check_names(&self, names: &[Name]) -> Result<(), Unmet> {
        let Some(first) = self.names.first() else { return Ok(()) };
        if names.is_empty() {
            return Err(unmet(alloc::format!(
                "no CA vouches for a name of the peer, and one among {first} is expected"
            )));
        }
        for list in &self.names {
            if let Some(name) = names.iter().find(|name| list.excludes_name(name)) {
                return Err(unmet(alloc::format!("the name {name} is not among {list}")));
            }
        }
        if names.iter().any(|name| self.lets_in(name)) {
            return Ok(());
        }
        let shown: Vec<String> = names.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
        let more = if names.len() > MAX_SHOWN { ", ..." } else { "" };
        let lists: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let lists = lists.join(" and ");
        Err(unmet(alloc::format!("no name of the peer ({}{more}) is among {lists}", shown.join(", "))))
    }

    fn lets_in(&self, name: &Name) -> bool {
        self.names.iter().all(|list| list.matches_name(name))
    }

    fn check_service(&self, service: &str) -> Result<(), Unmet> {
        match self.services.iter().find(|list| !list.matches(service)) {
            Some(list) => Err(Unmet {
                reason: Reason::ServiceUnavailable,
                why: alloc::format!("the service {service:?} is not among {list}"),
            }),
            None => Ok(()),
        }
    }
}

fn unmet(why: impl Into<String>) -> Unmet {
    Unmet { reason: Reason::NotTrusted, why: why.into() }
}

/// Names of a certificate that are shown.
const MAX_SHOWN: usize = 4;

#[cfg(test)]
mod tests;
