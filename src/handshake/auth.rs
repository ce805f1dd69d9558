//! What AUTH_R and AUTH_I share: how they are built and checked (specification, sections 6.4, 8.2, 8.3, 9), and the proofs
//! that the checks mint. A session can't be made without all of them.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use bytes::{BufMut, BytesMut};

use crate::config::Config;
use crate::crypto::aead::{OpeningKey, SealingKey};
use crate::crypto::schedule::{ConfirmKey, Exporter, HandshakeSecret, TrafficSecret, TranscriptHash};
use crate::crypto::signature::SignatureInput;
use crate::crypto::suite::Suite;
use crate::error::{Error, Sealed};
use crate::identity::{Credential, Peer};
use crate::keylog::SessionLog;
use crate::limits::{CONFIRM_LEN, HEADER_LEN, MAX_AUTH_LEN, SIGNATURE_LEN, TAG_LEN};
use crate::role::Role;
use crate::session::{Opener, Sealer, Session, SessionId, SessionInfo, Shares};
use crate::transcript::{Item, Transcript};
use crate::trust::Grant;
use crate::wire::frame::{Frame, FrameType, Header};
use crate::wire::message::Auth;

/// The peer's signature verified.
#[derive(Debug)]
pub(super) struct SignatureChecked(());

/// The peer's confirmation was right.
#[derive(Debug)]
pub(super) struct KeyConfirmed(());

/// The peer is not ourselves, the one expected, and trusted.
#[derive(Debug)]
pub(super) struct PeerVerified(pub(super) Peer);

/// The keys of one side after HELLO_REPLY.
#[derive(Debug)]
pub(super) struct AuthKeys {
    suite: Suite,
    secret: HandshakeSecret,
    sealing: SealingKey,
    opening: OpeningKey,
    confirm_local: ConfirmKey,
    confirm_peer: ConfirmKey,
    log: Option<SessionLog>,
}

/// Our own AUTH message, waiting for its signature.
#[derive(Debug)]
pub(super) struct Unsigned {
    frame: BytesMut,
    header: [u8; HEADER_LEN],
    padding: usize,
}

/// What the peer has proved.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) credential: Credential,
    pub(super) service: String,
    pub(super) signature: SignatureChecked,
    pub(super) confirmation: KeyConfirmed,
}

impl AuthKeys {
    pub(super) fn new(
        secret: HandshakeSecret,
        suite: Suite,
        local: Role,
        th_hello: &TranscriptHash,
        log: Option<SessionLog>,
    ) -> Result<Self, Error> {
        let (traffic_local, traffic_peer) = (secret.traffic(local, th_hello)?, secret.traffic(local.peer(), th_hello)?);
        let (confirm_local, confirm_peer) = (secret.confirm(local, th_hello)?, secret.confirm(local.peer(), th_hello)?);
        if let Some(log) = &log {
            log.handshake(local, traffic_local.expose());
            log.handshake(local.peer(), traffic_peer.expose());
            log.confirm(local, confirm_local.expose());
            log.confirm(local.peer(), confirm_peer.expose());
        }
        let sealing = traffic_local.sealing_key(suite.aead())?;
        let opening = traffic_peer.opening_key(suite.aead())?;
        Ok(AuthKeys { suite, secret, sealing, opening, confirm_local, confirm_peer, log })
    }

    /// The keys of the session, once the transcript is whole.
    pub(super) fn into_session_keys(
        self,
        local: Role,
        config: &Config,
        transcript: &Transcript,
    ) -> Result<SessionKeys, Error> {
        let AuthKeys { suite, secret, log, .. } = self;
        let th_final = transcript.hash();
        let master = secret.into_master()?;
        let traffic = |role: Role| -> Result<TrafficSecret, Error> {
            let secret = master.traffic(role, &th_final)?;
            log.iter().for_each(|log| log.traffic(role, 0, secret.expose()));
            Ok(secret)
        };
        let mut sealer = Sealer::new(traffic(local)?, suite.aead())?;
        let mut opener = Opener::new(traffic(local.peer())?, suite.aead())?;
        sealer.set_padding(config.padding);
        sealer.set_rekey_policy(config.rekey);
        sealer.set_log(local, log.clone());
        opener.set_log(local.peer(), log.clone());
        Ok(SessionKeys {
            role: local,
            suite,
            sealer,
            opener: if local == Role::Initiator { opener.awaiting_verdict() } else { opener },
            exporter: master.exporter(&th_final)?,
            channel_binding: master.channel_binding(&th_final)?,
            session_id: SessionId::new(master.session_id(&th_final)?),
        })
    }
}

/// The keys of one side after AUTH_I.
#[derive(Debug)]
pub(super) struct SessionKeys {
    role: Role,
    suite: Suite,
    sealer: Sealer,
    opener: Opener,
    exporter: Exporter,
    channel_binding: [u8; 32],
    session_id: SessionId,
}

impl SessionKeys {
    /// A sealer for a refusal, which is all that is left to say.
    pub(super) fn into_sealer(self) -> Sealer {
        self.sealer
    }

    /// Makes the session, for which every proof is needed.
    pub(super) fn into_session(
        self,
        service: String,
        peer: PeerVerified,
        _: SignatureChecked,
        _: KeyConfirmed,
    ) -> Box<Session> {
        let SessionKeys { role, suite, sealer, opener, exporter, channel_binding, session_id } = self;
        let info = SessionInfo { role, peer: peer.0, session_id, service, suite, channel_binding };
        Box::new(Session { sealer, opener, shares: Shares::new(), exporter, info })
    }
}

/// What is known of a peer that trust has accepted.
pub(super) fn peer(credential: Credential, grant: Grant) -> Peer {
    Peer { credential, name: grant.name, names: grant.names, predecessor: grant.predecessor }
}

/// Starts our AUTH message: adds header, service and credential to the transcript. Only an initiator names a service.
pub(super) fn begin(
    transcript: &mut Transcript,
    config: &Config,
    service: Option<&str>,
) -> Result<(Unsigned, SignatureInput), Error> {
    let credential = config.signer.credential();
    let mut block = BytesMut::new();
    credential.block().encode(&mut block)?;
    let (frame, role) = match service {
        None => (FrameType::AuthR, Role::Responder),
        Some(_) => (FrameType::AuthI, Role::Initiator),
    };
    let service_len = service.map_or(0, |service| 1 + service.len());
    let len = service_len + block.len() + SIGNATURE_LEN + CONFIRM_LEN;
    let target = len.checked_next_multiple_of(config.auth_padding).unwrap_or(len);
    let padding = target.min(MAX_AUTH_LEN - TAG_LEN).saturating_sub(len);
    let len = len + padding + TAG_LEN;
    let header = Header { frame, len }.encode();
    transcript.add(Item::Header, &[&header])?;
    let mut frame = BytesMut::with_capacity(HEADER_LEN + len);
    frame.put_slice(&header);
    if let Some(service) = service {
        transcript.add(Item::Service, &[service.as_bytes()])?;
        frame.put_u8(u8::try_from(service.len()).map_err(|_| Error::Internal("the service name is too long"))?);
        frame.put_slice(service.as_bytes());
    }
    transcript.add(Item::Credential, &[&block])?;
    frame.put_slice(&block);
    Ok((Unsigned { frame, header, padding }, transcript.signature_input(role)))
}

impl Unsigned {
    /// Adds signature and confirmation, seals the message, adds it to the transcript and to `output`.
    pub(super) fn finish(
        mut self,
        transcript: &mut Transcript,
        keys: &mut AuthKeys,
        signature: &[u8; SIGNATURE_LEN],
        output: &mut BytesMut,
    ) -> Result<(), Error> {
        transcript.add(Item::Signature, &[signature])?;
        let confirm = keys.confirm_local.compute(&transcript.hash())?;
        self.frame.put_slice(signature);
        self.frame.put_slice(&confirm);
        self.frame.put_bytes(0, self.padding);
        let plaintext = self.frame.get_mut(HEADER_LEN..).unwrap_or_default();
        let tag = keys.sealing.seal(&self.header, plaintext)?;
        self.frame.put_slice(&tag);
        transcript.add(Item::Sealed, &[self.frame.get(HEADER_LEN..).unwrap_or_default()])?;
        output.put_slice(&self.frame);
        Ok(())
    }
}

/// Checks the peer's AUTH message and adds it to the transcript.
pub(super) fn check(
    mut frame: Frame,
    local: Role,
    transcript: &mut Transcript,
    keys: &mut AuthKeys,
) -> Result<Proven, Error> {
    let sealed = frame.body.clone();
    // [HS-11] [HS-16]
    let what = if local == Role::Initiator { Sealed::AuthR } else { Sealed::AuthI };
    let plaintext = keys.opening.open(&frame.header, &mut frame.body, what)?;
    // [HS-12] [HS-17]
    let (service, auth) = match local {
        Role::Initiator => (None, Auth::decode(plaintext)?),
        Role::Responder => Auth::decode_with_service(plaintext).map(|(service, auth)| (Some(service), auth))?,
    };
    let (credential, verifier) = Credential::decode(&auth.credential)?;
    transcript.add(Item::Header, &[&frame.header])?;
    if let Some(service) = service {
        transcript.add(Item::Service, &[service.as_bytes()])?;
    }
    let mut block = BytesMut::new();
    auth.credential.encode(&mut block)?;
    transcript.add(Item::Credential, &[&block])?;
    let signed = transcript.signature_input(local.peer());
    transcript.add(Item::Signature, &[&auth.signature])?;
    keys.confirm_peer.check(&transcript.hash(), &auth.confirm)?;
    let confirmation = KeyConfirmed(());
    // [HS-14] [HS-20]
    verifier.verify(&signed, &auth.signature)?;
    let signature = SignatureChecked(());
    transcript.add(Item::Sealed, &[&sealed])?;
    Ok(Proven { credential, service: service.unwrap_or_default().to_string(), signature, confirmation })
}
