//! `trust check`: what would be decided about a peer, and by which rule.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use countersign::identity::{Credential, PeerId};
use countersign::trust::{Decision, Direction, Request, Trust};
use tokio::time::timeout;

use crate::args::CheckArgs;
use crate::ca::moment::Moment;
use crate::certificates::load_chain;
use crate::keys::{parse_who, print};
use crate::report::{PEER_REFUSED, Report};
use crate::whom::Whom;

/// Asks once.
pub async fn run(args: CheckArgs) -> Result<u8, Report> {
    let whom = Whom { trust: args.trust.as_deref(), cas: &args.cas, names: &args.peer_names };
    let (trust, _watched) = whom.open()?;
    let credential = credential(&args)?;
    let direction = if args.outbound { Direction::Outbound } else { Direction::Inbound };
    let address = args.from.map(|ip| SocketAddr::new(ip, 0));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = args.at.map_or(now, Duration::from_secs);
    let request = Request::new(credential, args.service, address, direction).at(time);
    let decision = timeout(PATIENCE, trust.decide(&request)).await;
    let decision = decision.map_err(|_| Report::usage("no decision came"))?;
    let rule = match decision.rule() {
        "" => "no rule is given".to_string(),
        rule => on_one_line(rule),
    };
    match decision {
        Decision::Accept(grant) => {
            let mut text = format!("accepted: {rule}\n");
            for (what, value) in [
                ("name", grant.name.map(|name| on_one_line(&name))),
                ("names", Some(shown(&grant.names)).filter(|names| !names.is_empty())),
                ("in place of", grant.predecessor.map(|key| key.fingerprint().to_string())),
                ("until", grant.until.map(|until| Moment::from_seconds(until.as_secs()).to_string())),
            ] {
                text.extend(value.map(|value| format!("  {what}: {value}\n")));
            }
            print(&text)
        }
        Decision::Refuse(denial) => {
            print(&format!("refused: {rule}\n  the peer is told: {}\n", denial.refusal))?;
            Ok(PEER_REFUSED)
        }
    }
}

fn credential(args: &CheckArgs) -> Result<Credential, Report> {
    match (&args.cert, &args.key) {
        (Some(path), _) => Ok(Credential::X509(load_chain(path)?)),
        (None, key) => match parse_who("--key", key.as_deref().unwrap_or_default())? {
            PeerId::Key(key) => Ok(Credential::RawKey(key)),
            _ => Err(Report::usage("--key: expected a .pub file or a public line; a fingerprint is not enough")),
        },
    }
}

fn shown(names: &[countersign::identity::Name]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// As it is, but for what would move the cursor: names come from files and peers. Quotes stay, as rules have many.
fn on_one_line(text: &str) -> String {
    let shown = |c: char| if matches!(c, '"' | '\'' | '\\') { c.to_string() } else { c.escape_debug().to_string() };
    text.chars().map(shown).collect()
}

const PATIENCE: Duration = Duration::from_secs(10);
