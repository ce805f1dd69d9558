//! The proofs of both sides, over the transcript (specification, sections 8 and 9). Both directions are needed.

use countersign::crypto::schedule::ConfirmKey;
use countersign::error::Error;
use countersign::identity::PublicKey;
use countersign::limits::HEADER_LEN;
use countersign::role::Role;
use countersign::transcript::{Item, Transcript};
use countersign::wire::frame::FrameType;
use countersign::wire::message::{Auth, Hello, HelloReply};

use crate::inspect::frames::RawFrame;
use crate::inspect::keys::Keys;
use crate::inspect::listing::Listing;

/// AUTH_R and AUTH_I, opened.
#[derive(Default)]
pub struct Proofs {
    auth_r: Option<Opened>,
    auth_i: Option<Opened>,
}

struct Opened {
    header: Vec<u8>,
    sealed: Vec<u8>,
    plaintext: Vec<u8>,
}

/// What HELLO_REPLY has to do with HELLO.
pub fn compare(listing: &mut Listing<'_>, hello: &Hello, reply: &HelloReply<'_>) {
    // [HS-8] [HS-9]
    if hello.suites.contains(&reply.suite) {
        listing.ok("HELLO_REPLY chooses a suite that HELLO offers");
    } else {
        listing.wrong("HELLO_REPLY chooses a suite that HELLO does not offer");
    }
    let echo = hello.shares.iter().any(|share| share.kind == 1 && reply.shares.starts_with(&share.data));
    if hello.nonce == reply.nonce || echo {
        listing.wrong("HELLO_REPLY echoes the nonce or the share of HELLO");
    }
}

impl Proofs {
    /// Notes an AUTH message; the first of its type counts.
    pub fn note(&mut self, frame: &RawFrame<'_>, plaintext: Vec<u8>) {
        let place = if frame.kind == FrameType::AuthR { &mut self.auth_r } else { &mut self.auth_i };
        place.get_or_insert(Opened { header: frame.header.to_vec(), sealed: frame.body.to_vec(), plaintext });
    }

    /// Checks confirmations and signatures.
    pub fn check(&self, listing: &mut Listing<'_>, hellos: [&RawFrame<'_>; 2], keys: &Keys, context: &[u8]) {
        let start = || {
            let mut transcript = Transcript::new(context)?;
            hellos.iter().try_for_each(|frame| transcript.add(Item::Frame, &[frame.whole]))?;
            Ok(transcript)
        };
        let mut transcript = match start() {
            Ok(transcript) => transcript,
            Err::<_, Error>(error) => return listing.wrong(error),
        };
        let sides = [(Role::Responder, &self.auth_r, "CONFIRM_R"), (Role::Initiator, &self.auth_i, "CONFIRM_I")];
        for (role, opened, label) in sides {
            let Some(opened) = opened else {
                // What comes later is hashed over what comes before.
                return listing
                    .line(format!("not checked: what the {role} proves, since it is not there or stays sealed"));
            };
            if let Err(error) = check_side(listing, &mut transcript, role, opened, keys.confirm(label)) {
                return listing.wrong(format!("the proof of the {role}: {error}"));
            }
        }
    }
}

/// Checks one side, and leaves the transcript after its message.
fn check_side(
    listing: &mut Listing<'_>,
    transcript: &mut Transcript,
    role: Role,
    opened: &Opened,
    confirm_key: Option<ConfirmKey>,
) -> Result<(), Error> {
    let (signature_name, confirm_name) = match role {
        Role::Responder => ("signature_r", "confirm_r"),
        Role::Initiator => ("signature_i", "confirm_i"),
    };
    let (service, auth) = match role {
        Role::Responder => (None, Auth::decode(&opened.plaintext)?),
        Role::Initiator => Auth::decode_with_service(&opened.plaintext).map(|(service, auth)| (Some(service), auth))?,
    };
    let mut block = bytes::BytesMut::with_capacity(HEADER_LEN + auth.credential.data.len());
    auth.credential.encode(&mut block)?;
    transcript.add(Item::Header, &[&opened.header])?;
    if let Some(service) = service {
        transcript.add(Item::Service, &[service.as_bytes()])?;
    }
    transcript.add(Item::Credential, &[&block])?;
    let signed = transcript.signature_input(role);
    transcript.add(Item::Signature, &[&auth.signature])?;
    match confirm_key.map(|key| key.check(&transcript.hash(), &auth.confirm)) {
        None => listing.wrong(format!("{confirm_name} can't be checked: the key log lacks its key")),
        Some(Ok(())) => listing.ok(format!("{confirm_name} is right: both sides saw the same handshake")),
        Some(Err(_)) => {
            listing.wrong(format!("{confirm_name} is wrong: something was altered, or --context is another"))
        }
    }
    let key = auth.credential.data.try_into().ok().filter(|_| auth.credential.kind == 1);
    match key.map(PublicKey::from_bytes) {
        Some(Ok(key)) => match key.verify(&signed, &auth.signature) {
            Ok(()) => listing.ok(format!("{signature_name} is by {}", key.fingerprint())),
            Err(_) => listing.wrong(format!(
                "{signature_name} is not by {}: something was altered, or --context is another",
                key.fingerprint()
            )),
        },
        _ => listing.wrong(format!("{signature_name}: the credential is not a valid Ed25519 key")),
    }
    transcript.add(Item::Sealed, &[&opened.sealed])
}
