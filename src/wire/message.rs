//! The messages, field by field in the order of the specification (sections 6.2 to 6.6).

use alloc::vec::Vec;
use core::str;

use bytes::{BufMut, BytesMut};

use crate::error::{Error, Malformed, Misuse};
use crate::limits::{
    CONFIRM_LEN, MAX_CREDENTIAL_LEN, MAX_SERVICE_LEN, MAX_SHARES, MAX_SUITES, MAX_TEXT_LEN, NETWORK_KEY_LEN, NONCE_LEN,
    REKEY_LEN, SIGNATURE_LEN, VERSION, X25519_LEN,
};
use crate::wire::cursor::Cursor;

/// HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The initiator's challenge.
    pub nonce: [u8; NONCE_LEN],
    /// The suites offered, most preferred first.
    pub suites: Vec<u16>,
    /// The shares, by ascending kind.
    pub shares: Vec<Share>,
    /// The tag of the network key, if there is one.
    pub network_tag: Option<[u8; NETWORK_KEY_LEN]>,
}

/// A public share of a key agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its kind, section 6.7.
    pub kind: u8,
    /// The share.
    pub data: Vec<u8>,
}

/// HELLO_REPLY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloReply<'a> {
    /// The suite chosen.
    pub suite: u16,
    /// The responder's challenge.
    pub nonce: [u8; NONCE_LEN],
    /// The shares, whose number and lengths the suite tells.
    pub shares: &'a [u8],
}

/// What a side presents as its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialBlock<'a> {
    /// Its kind, section 7.
    pub kind: u8,
    /// Its data.
    pub data: &'a [u8],
}

/// The plaintext of AUTH_R, and of AUTH_I after its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The credential.
    pub credential: CredentialBlock<'a>,
    /// The signature.
    pub signature: [u8; SIGNATURE_LEN],
    /// The confirmation MAC.
    pub confirm: [u8; CONFIRM_LEN],
}

/// The content of a REKEY record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rekey {
    /// Number of the receiver's share that was mixed in; 0 for none.
    pub peer_number: u32,
    /// Number of the share, or 0 if it can't be named.
    pub number: u32,
    /// The sender's fresh share.
    pub share: [u8; X25519_LEN],
}

/// The content of an ALERT or VERDICT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeText<'a> {
    /// The code.
    pub code: u8,
    /// The text.
    pub text: &'a str,
}

impl Hello {
    /// Appends the body.
    ///
    /// # Errors
    /// [`Error::Internal`] if a count or length does not fit its field.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        out.put_u16(VERSION);
        out.put_slice(&self.nonce);
        out.put_u8(narrow(self.suites.len())?);
        self.suites.iter().for_each(|suite| out.put_u16(*suite));
        out.put_u8(narrow(self.shares.len())?);
        for share in &self.shares {
            out.put_u8(share.kind);
            out.put_u16(narrow(share.data.len())?);
            out.put_slice(&share.data);
        }
        out.put_slice(self.network_tag.as_ref().map_or(&[], |tag| tag));
        Ok(())
    }

    /// Parses a body.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`] before anything else, then [`Error::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        check_version(&mut cursor)?;
        let nonce = cursor.array("nonce_i")?;
        let suite_count = count(&mut cursor, "suite_count", MAX_SUITES)?;
        // Both counts are small and have been checked.
        let mut suites = Vec::with_capacity(suite_count);
        for _ in 0..suite_count {
            let suite = cursor.u16("suites")?;
            if suites.contains(&suite) {
                return Err(Error::Malformed(Malformed::Field("suites")));
            }
            suites.push(suite);
        }
        let share_count = count(&mut cursor, "share_count", MAX_SHARES)?;
        let mut shares: Vec<Share> = Vec::with_capacity(share_count);
        for _ in 0..share_count {
            let kind = cursor.u8("share kind")?;
            let len = usize::from(cursor.u16("share_len")?);
            let data = cursor.take(len, "share")?.to_vec();
            if data.is_empty() || shares.last().is_some_and(|last| last.kind >= kind) {
                return Err(Error::Malformed(Malformed::Field("shares")));
            }
            shares.push(Share { kind, data });
        }
        let network_tag = if cursor.is_empty() { None } else { Some(cursor.array("network_tag")?) };
        cursor.finish("HELLO")?;
        Ok(Hello { nonce, suites, shares, network_tag })
    }
}

impl<'a> HelloReply<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16(VERSION);
        out.put_u16(self.suite);
        out.put_slice(&self.nonce);
        out.put_slice(self.shares);
    }

    /// Parses a body.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`] before anything else, then [`Error::Malformed`].
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        check_version(&mut cursor)?;
        let suite = cursor.u16("suite")?;
        let nonce = cursor.array("nonce_r")?;
        Ok(HelloReply { suite, nonce, shares: cursor.rest() })
    }
}

impl<'a> CredentialBlock<'a> {
    /// Appends the block.
    ///
    /// # Errors
    /// [`Error::Internal`] if the data is too long.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        out.put_u8(self.kind);
        out.put_u16(narrow(self.data.len())?);
        out.put_slice(self.data);
        Ok(())
    }

    fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Error> {
        let kind = cursor.u8("credential_kind")?;
        let len = usize::from(cursor.u16("credential_len")?);
        if len == 0 || len > MAX_CREDENTIAL_LEN {
            return Err(Error::Malformed(Malformed::Field("credential_len")));
        }
        Ok(CredentialBlock { kind, data: cursor.take(len, "credential_data")? })
    }
}

impl<'a> Auth<'a> {
    /// Parses the plaintext of AUTH_R.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(plaintext: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(plaintext);
        let credential = CredentialBlock::decode(&mut cursor)?;
        let signature = cursor.array("signature")?;
        let confirm = cursor.array("confirm")?;
        if cursor.rest().iter().fold(0, |all, byte| all | byte) != 0 {
            return Err(Error::Malformed(Malformed::Padding));
        }
        Ok(Auth { credential, signature, confirm })
    }

    /// Parses the plaintext of AUTH_I: the service, then the rest.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode_with_service(plaintext: &'a [u8]) -> Result<(&'a str, Self), Error> {
        let mut cursor = Cursor::new(plaintext);
        let len = usize::from(cursor.u8("service_len")?);
        let service = cursor.take(len, "service")?;
        let service = str::from_utf8(service).map_err(|_| Error::Malformed(Malformed::Field("service")))?;
        check_service(service).map_err(|_| Error::Malformed(Malformed::Field("service")))?;
        Ok((service, Self::decode(cursor.rest())?))
    }
}

impl Rekey {
    /// The content.
    pub fn encode(&self) -> [u8; REKEY_LEN] {
        let mut content = [0; REKEY_LEN];
        let bytes = self.peer_number.to_be_bytes().into_iter().chain(self.number.to_be_bytes()).chain(self.share);
        content.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        content
    }

    /// Parses the content.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(content: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(content);
        let peer_number = cursor.u32("peer_number")?;
        let number = cursor.u32("number")?;
        let share = cursor.array("share")?;
        cursor.finish("REKEY")?;
        Ok(Rekey { peer_number, number, share })
    }
}

impl<'a> CodeText<'a> {
    /// Parses the content of an ALERT or VERDICT record.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(content: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(content);
        let code = cursor.u8("code")?;
        let text = str::from_utf8(cursor.rest()).map_err(|_| Error::Malformed(Malformed::Field("text")))?;
        check_text(text).map_err(|_| Error::Malformed(Malformed::Field("text")))?;
        Ok(CodeText { code, text })
    }
}

/// Whether `service` is one that the wire carries: empty, or at most 255 visible ASCII characters.
///
/// # Errors
/// [`Misuse::Service`].
pub fn check_service(service: &str) -> Result<(), Misuse> {
    let good = service.len() <= MAX_SERVICE_LEN && service.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(()) } else { Err(Misuse::Service) }
}

/// Whether `text` is one that the wire carries: at most 255 bytes without control characters.
///
/// # Errors
/// [`Misuse::Text`].
pub fn check_text(text: &str) -> Result<(), Misuse> {
    let good = text.len() <= MAX_TEXT_LEN && !text.chars().any(char::is_control);
    if good { Ok(()) } else { Err(Misuse::Text) }
}

fn check_version(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    match cursor.u16("version")? {
        VERSION => Ok(()),
        version => Err(Error::UnsupportedVersion(version)),
    }
}

fn count(cursor: &mut Cursor<'_>, field: &'static str, max: usize) -> Result<usize, Error> {
    let count = usize::from(cursor.u8(field)?);
    if count == 0 || count > max { Err(Error::Malformed(Malformed::Field(field))) } else { Ok(count) }
}

fn narrow<T: TryFrom<usize>>(len: usize) -> Result<T, Error> {
    T::try_from(len).map_err(|_| Error::Internal("a length does not fit its field"))
}
