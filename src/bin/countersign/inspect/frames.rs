//! Bytes of one direction cut into frames, and where a frame may stand (specification, sections 6.1 and 13).

use countersign::limits::HEADER_LEN;
use countersign::role::Role;
use countersign::wire::frame::{FrameType, Header};

/// One direction of a connection.
pub struct Direction<'a> {
    pub frames: Vec<RawFrame<'a>>,
    /// Where and why it can't be read any further.
    pub stop: Option<(usize, String)>,
    /// Who sent it, if that can be told.
    pub role: Option<Role>,
}

/// A whole frame.
pub struct RawFrame<'a> {
    pub number: usize,
    pub offset: usize,
    pub kind: FrameType,
    /// Header and body.
    pub whole: &'a [u8],
    pub header: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Direction<'a> {
    pub fn split(bytes: &'a [u8]) -> Self {
        let mut direction = Direction { frames: Vec::new(), stop: None, role: None };
        let mut offset = 0;
        direction.stop = loop {
            let rest = bytes.get(offset..).unwrap_or_default();
            let header = match Header::peek(rest, &FrameType::ALL, offset == 0) {
                Ok(Some(header)) => header,
                Ok(None) if rest.is_empty() && offset > 0 => break None,
                Ok(None) if rest.is_empty() => break Some((0, "there are no bytes at all".to_string())),
                Ok(None) => break Some((offset, format!("{} bytes of a header of {HEADER_LEN}", rest.len()))),
                Err(error) => break Some((offset, error.to_string())),
            };
            let Some((whole, _)) = rest.split_at_checked(HEADER_LEN + header.len) else {
                let (there, name) = (rest.len() - HEADER_LEN, header.frame.name());
                break Some((offset, format!("{there} bytes of a {name} with a body of {}", header.len)));
            };
            let (head, body) = whole.split_at(HEADER_LEN);
            let number = direction.frames.len();
            direction.frames.push(RawFrame { number, offset, kind: header.frame, whole, header: head, body });
            offset += whole.len();
        };
        direction.role = direction.frames.iter().find_map(|frame| match frame.kind {
            FrameType::Hello | FrameType::AuthI => Some(Role::Initiator),
            FrameType::HelloReply | FrameType::AuthR => Some(Role::Responder),
            FrameType::Record | FrameType::Alert => None,
        });
        direction
    }

    pub fn has_sealed(&self) -> bool {
        let sealed = [FrameType::AuthR, FrameType::AuthI, FrameType::Record];
        self.frames.iter().any(|frame| sealed.contains(&frame.kind))
    }

    /// Why a frame does not belong where it stands.
    pub fn misplaced(&self, frame: &RawFrame<'_>) -> Option<String> {
        let role = self.role?;
        let order = match role {
            Role::Initiator => [FrameType::Hello, FrameType::AuthI, FrameType::Record],
            Role::Responder => [FrameType::HelloReply, FrameType::AuthR, FrameType::Record],
        };
        let expected = *order.get(frame.number).unwrap_or(&FrameType::Record);
        let before = frame.number.checked_sub(1).and_then(|before| self.frames.get(before));
        if before.is_some_and(|before| before.kind == FrameType::Alert) {
            return Some(format!("{} after an ALERT frame, which ends the connection", frame.kind.name()));
        }
        // [AL-4] An initiator says it sealed once it has sent AUTH_I; a responder has authenticated its peer before its first record.
        let alert_is_legal = match role {
            Role::Initiator => frame.number <= 1,
            Role::Responder => frame.number <= 2,
        };
        match frame.kind {
            FrameType::Alert if alert_is_legal => None,
            kind if kind == expected => None,
            kind => Some(format!("{} where the {role} has to send {}", kind.name(), expected.name())),
        }
    }
}

/// A direction that says nothing about its sender is that of the other side.
pub fn settle_roles(directions: &mut [Direction<'_>]) {
    if let [one, other] = directions {
        match (one.role, other.role) {
            (Some(role), None) => other.role = Some(role.peer()),
            (None, Some(role)) => one.role = Some(role.peer()),
            _ => {}
        }
    }
}
