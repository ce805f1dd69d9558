//! Rules made of rules: any of several, all of them, one when conditions hold, one except what another accepts.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Weak;
use alloc::vec::Vec;

use crate::error::Reason;
use crate::identity::Name;
use crate::trust::conditions::Conditions;
use crate::trust::decision::{Decision, DecisionFuture, Denial, Grant, Request, Trust, Watcher};
#[cfg(feature = "std")]
use crate::trust::notifier::{Notified, Notifier};

/// Made by [`any_of`].
#[derive(Debug)]
pub struct AnyOf(Vec<Box<dyn Trust>>);

/// Made by [`all_of`].
#[derive(Debug)]
pub struct AllOf(Vec<Box<dyn Trust>>);

/// Made by [`TrustExt::when`].
#[derive(Clone, Debug)]
pub struct When<T> {
    rule: T,
    conditions: Conditions,
}

/// Made by [`TrustExt::except`].
#[derive(Clone, Debug)]
pub struct Except<T, U> {
    rule: T,
    except: U,
}

/// Accepts what one of the rules accepts. They are asked in order, each once the one before has refused; the first that
/// accepts decides. If none does, the refusal that tells the peer most is given. Without rules nobody is accepted.
///
/// ```
/// use countersign::PeerId;
/// use countersign::trust::{Conditions, Direction, PatternList, Pinned, Trust, TrustExt, any_of};
///
/// let alice: PeerId = "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ".parse()?;
/// let bob: PeerId = "SHA256:wM1mMxwoOGGNZzG8fO1X0SsHo3jvW9ErXmbYpUBBkYQ".parse()?;
/// let guests = Conditions::new().services(PatternList::parse("web-*,!web-admin")?).direction(Direction::Inbound);
/// let rules: [Box<dyn Trust>; 2] = [Box::new(Pinned::new([alice])), Box::new(Pinned::new([bob]).when(guests))];
/// let trust = any_of(rules);
/// # let _ = trust;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn any_of(rules: impl IntoIterator<Item = Box<dyn Trust>>) -> AnyOf {
    AnyOf(rules.into_iter().collect())
}

/// Accepts what all of the rules accept. They are asked in order, until one refuses. The grants become one: the first
/// name and the first predecessor, the names that all of those give that give any, and the earliest end. Without rules nobody is accepted.
pub fn all_of(rules: impl IntoIterator<Item = Box<dyn Trust>>) -> AllOf {
    AllOf(rules.into_iter().collect())
}

/// Limits a rule.
pub trait TrustExt: Trust + Sized {
    /// Accepts what this accepts while the conditions hold.
    fn when(self, conditions: Conditions) -> When<Self> {
        When { rule: self, conditions }
    }

    /// Lets `notifier` tell when decisions of this may have changed: then the peers of live sessions are decided about again.
    #[cfg(feature = "std")]
    fn notified_by(self, notifier: &Notifier) -> Notified<Self> {
        Notified::new(self, notifier)
    }

    /// Refuses what `except` accepts, and else decides as this does. Who is listed in `except` should be so for good:
    /// where it has an end and there is no clock, it accepts nobody, and so refuses nobody here; and live sessions are
    /// not looked at again when a time comes from which it accepts more.
    fn except<U: Trust>(self, except: U) -> Except<Self, U> {
        Except { rule: self, except }
    }
}

impl<T: Trust> TrustExt for T {}

impl Trust for AnyOf {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let mut denials = Vec::new();
            for (index, rule) in self.0.iter().enumerate() {
                match rule.decide(request).await {
                    Decision::Accept(mut grant) => {
                        grant.rule = format!("any of {}: {}", self.0.len(), numbered(index, &grant.rule));
                        return Decision::Accept(grant);
                    }
                    Decision::Refuse(mut denial) => {
                        denial.rule = numbered(index, &denial.rule);
                        denials.push(denial);
                    }
                }
            }
            // One that could not answer might have accepted.
            if let Some(busy) = denials.iter().find(|denial| denial.refusal.reason == Reason::Busy) {
                return Decision::Refuse(busy.clone());
            }
            Decision::Refuse(most_telling(&format!("none of {} accepts", self.0.len()), denials))
        })
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        watch_all(&self.0, watcher)
    }
}

impl Trust for AllOf {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let mut whole: Option<Grant> = None;
            let mut names: Option<Vec<Name>> = None;
            for (index, rule) in self.0.iter().enumerate() {
                match rule.decide(request).await {
                    Decision::Accept(mut grant) => {
                        grant.rule = numbered(index, &grant.rule);
                        let given = core::mem::take(&mut grant.names);
                        // Names that one of the rules did not let through are not brought back by another.
                        names = match names {
                            None => Some(given).filter(|given| !given.is_empty()),
                            Some(names) if given.is_empty() => Some(names),
                            Some(names) => Some(names.into_iter().filter(|name| given.contains(name)).collect()),
                        };
                        whole = Some(whole.map_or_else(|| grant.clone(), |whole| merge(whole, &grant)));
                    }
                    Decision::Refuse(mut denial) => {
                        denial.rule = format!("all of {}: {}", self.0.len(), numbered(index, &denial.rule));
                        return Decision::Refuse(denial);
                    }
                }
            }
            let Some(mut grant) = whole else { return Decision::not_trusted().because("all of 0: nobody is accepted") };
            grant.rule = format!("all of {}: {}", self.0.len(), grant.rule);
            grant.names = names.unwrap_or_default();
            Decision::Accept(grant)
        })
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        watch_all(&self.0, watcher)
    }
}

impl<T: Trust> Trust for When<T> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            match self.rule.decide(request).await {
                Decision::Accept(grant) => self.conditions.apply(request, grant),
                refuse => refuse,
            }
        })
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        self.rule.watch(watcher)
    }
}

impl<T: Trust, U: Trust> Trust for Except<T, U> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let decision = self.rule.decide(request).await;
            if !decision.is_accept() {
                return decision;
            }
            match self.except.decide(request).await {
                Decision::Accept(Grant { rule, .. }) if rule.is_empty() => {
                    Decision::not_trusted().because("excepted from what is accepted")
                }
                Decision::Accept(Grant { rule, .. }) => Decision::not_trusted().because(format!("except: {rule}")),
                // Whether it is excepted is not known.
                busy @ Decision::Refuse(_) if is_busy(&busy) => busy,
                Decision::Refuse(_) => decision,
            }
        })
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        // Both are to be told, whatever the first says.
        self.rule.watch(watcher) | self.except.watch(watcher)
    }
}

/// Of several refusals the first that tells the peer more than that its key is not trusted; its rule becomes that of
/// all.
pub(crate) fn most_telling(before: &str, denials: Vec<Denial>) -> Denial {
    let shown: Vec<&str> = denials.iter().map(|denial| &*denial.rule).take(MAX_SHOWN).collect();
    let more = if denials.len() > MAX_SHOWN { "; ..." } else { "" };
    let colon = if before.is_empty() || shown.is_empty() { "" } else { ": " };
    let rule = format!("{before}{colon}{}{more}", shown.join("; "));
    let tells = |denial: &&Denial| !denial.refusal.text.is_empty() || denial.refusal.reason != Reason::NotTrusted;
    let chosen = denials.iter().find(tells).or(denials.first());
    let refusal = chosen.map(|denial| denial.refusal.clone());
    Denial { refusal: refusal.unwrap_or_else(|| crate::error::Refusal::new(Reason::NotTrusted, "")), rule }
}

/// Whether nothing was decided.
fn is_busy(decision: &Decision) -> bool {
    matches!(decision, Decision::Refuse(denial) if denial.refusal.reason == Reason::Busy)
}

fn merge(mut whole: Grant, other: &Grant) -> Grant {
    whole.name = whole.name.or_else(|| other.name.clone());
    if let Some(until) = other.until {
        whole.limit(until);
    }
    whole.predecessor = whole.predecessor.or(other.predecessor);
    whole.rule = format!("{}; {}", whole.rule, other.rule);
    whole
}

fn watch_all(rules: &[Box<dyn Trust>], watcher: &Weak<dyn Watcher>) -> bool {
    rules.iter().fold(false, |any, rule| rule.watch(watcher) | any)
}

fn numbered(index: usize, rule: &str) -> String {
    let number = index + 1;
    if rule.is_empty() { format!("rule {number}") } else { format!("rule {number}: {rule}") }
}

/// Refusals whose rules are shown.
const MAX_SHOWN: usize = 8;

#[cfg(test)]
mod tests;
