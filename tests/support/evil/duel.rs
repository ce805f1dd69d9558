//! One misbehaviour against an honest side in memory.

use countersign::config::Config;
use countersign::handshake::Target;
use countersign::trust::Pinned;

use super::keys::RESPONDER;
use super::peer::Peer;
use super::script::{ALSO_TRUSTED, CONTEXT, HONEST, SERVICE, Script, TRUSTED, other};
use super::victim::Victim;
use crate::support::{identity, peer_id};

/// How the honest side reads, whether it waits for the verdict, and the suite that the evil peer wants where its script
/// says nothing of suites.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub piece: usize,
    pub eager: bool,
    pub suite: u16,
}

pub const ORDINARY: Manner = Manner { piece: 4_096, eager: false, suite: 1 };

/// The honest side's configuration, which trusts two peers.
pub fn honest_config(script: &Script) -> Config {
    let trust = Pinned::new([peer_id(TRUSTED), peer_id(ALSO_TRUSTED)]);
    let services = [std::str::from_utf8(SERVICE).expect("text")];
    (script.honest)(Config::new(identity(HONEST), trust).context(CONTEXT).services(services))
}

/// Whom an honest initiator calls, and for what.
pub fn honest_target(script: &Script) -> Target {
    let service = String::from_utf8(SERVICE.to_vec()).expect("text");
    Target { peer: (!script.anyone).then(|| peer_id(TRUSTED)), service, ..Target::default() }
}

/// Plays until neither side has more to say, and then ends the transport.
pub fn duel(script: &Script, evil: &'static str, manner: Manner) -> (Peer, Victim) {
    let mut peer = Peer::new(evil, script, manner.suite);
    let eager = manner.eager && evil == RESPONDER;
    let config = honest_config(script);
    let mut victim = Victim::new(other(evil), &config, honest_target(script), eager, script.rekeys);
    let mut there = peer.start();
    loop {
        victim.feed(&there, manner.piece);
        let back = victim.take_output();
        there = peer.hear(&back);
        if there.is_empty() {
            break;
        }
    }
    peer.said_while_open = peer.said.len();
    victim.end();
    let last = victim.take_output();
    peer.hear(&last);
    (peer, victim)
}
