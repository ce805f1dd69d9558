//! The sending direction.

use bytes::{BufMut, BytesMut};

use crate::crypto::aead::SealingKey;
use crate::error::{Alert, Error, Misuse, Refusal};
use crate::limits::{HEADER_LEN, MAX_CONTENT_LEN, MAX_RECORDS, TAG_LEN};
use crate::session::{KIND_ALERT, KIND_DATA, KIND_END, KIND_VERDICT, PADDED};
use crate::wire::frame::{FrameType, Header};
use crate::wire::message::check_text;

/// Seals what this side sends. After END, an alert or an error it seals nothing more, and its key is gone.
#[derive(Debug)]
pub struct Sealer(Result<SealingKey, Error>);

impl Sealer {
    /// A direction that is open.
    pub fn new(key: SealingKey) -> Self {
        Sealer(Ok(key))
    }

    /// Appends one DATA record with the first bytes of `parts` to `output`, at most 65,536, and returns how many it took.
    /// Nothing is appended if there are none.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when the counter is at its limit, [`Misuse::WriteAfterEnd`], or the error that ended the session.
    pub fn seal_data<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        output: &mut BytesMut,
    ) -> Result<usize, Error> {
        self.seal_padded(parts, None, output)
    }

    /// As [`Sealer::seal_data`], with that many zero bytes of padding, which hide the length; content and padding have at most 65,536
    /// bytes together, so less content may be taken. `Some(0)` sets the padding flag all the same.
    ///
    /// # Errors
    /// As [`Sealer::seal_data`].
    pub fn seal_padded<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        padding: Option<u16>,
        output: &mut BytesMut,
    ) -> Result<usize, Error> {
        // [RE-2] The last number is kept for END or an alert.
        if self.0.as_ref().is_ok_and(|key| key.counter() >= MAX_RECORDS - 1) {
            return Err(Error::Exhausted);
        }
        let available = parts.clone().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let len = available.min(MAX_CONTENT_LEN - padding.map_or(0, usize::from));
        if len == 0 {
            return self.check().map(|()| 0);
        }
        self.seal(KIND_DATA, len, parts, padding, output).map(|()| len)
    }

    /// Appends END: the authenticated end of this direction.
    ///
    /// # Errors
    /// As [`Sealer::seal_data`].
    pub fn seal_end(&mut self, output: &mut BytesMut) -> Result<(), Error> {
        self.seal(KIND_END, 0, core::iter::empty(), None, output)?;
        self.poison(Error::Misuse(Misuse::WriteAfterEnd));
        Ok(())
    }

    /// Appends an ALERT record, which ends the session in both directions.
    ///
    /// # Errors
    /// [`Misuse::Text`] for a text that the wire does not carry; else as [`Sealer::seal_data`].
    pub fn seal_alert(&mut self, alert: Alert, text: &str, output: &mut BytesMut) -> Result<(), Error> {
        check_text(text).map_err(Error::Misuse)?;
        self.seal_code_text(KIND_ALERT, alert.code(), text, output)?;
        self.poison(Error::Misuse(Misuse::WriteAfterEnd));
        Ok(())
    }

    /// The responder's answer; its first record.
    pub(crate) fn seal_verdict(&mut self, refusal: Option<&Refusal>, output: &mut BytesMut) -> Result<(), Error> {
        match refusal {
            None => self.seal_code_text(KIND_VERDICT, 0, "", output),
            Some(Refusal { reason, text }) => {
                check_text(text).map_err(Error::Misuse)?;
                self.seal_code_text(KIND_VERDICT, reason.code(), text, output)
            }
        }
    }

    /// Whether more can be sealed.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        self.0.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Ends this direction because of an error elsewhere. The key is wiped; the first error stays.
    pub fn poison(&mut self, error: Error) {
        if self.0.is_ok() {
            self.0 = Err(error);
        }
    }

    fn seal_code_text(&mut self, kind: u8, code: u8, text: &str, output: &mut BytesMut) -> Result<(), Error> {
        let parts = [&[code], text.as_bytes()];
        self.seal(kind, 1 + text.len(), parts.into_iter(), None, output)
    }

    /// Header, kind and `len` bytes of content go to their final place, and are sealed there.
    fn seal<'a>(
        &mut self,
        kind: u8,
        len: usize,
        parts: impl Iterator<Item = &'a [u8]>,
        padding: Option<u16>,
        output: &mut BytesMut,
    ) -> Result<(), Error> {
        let key = self.0.as_mut().map_err(|error| error.clone())?;
        let padding_len = padding.map_or(0, |padding| usize::from(padding) + 2);
        let body_len = 1 + len + padding_len + TAG_LEN;
        let header = Header { frame: FrameType::Record, len: body_len }.encode();
        let start = output.len();
        output.reserve(HEADER_LEN + body_len);
        output.put_slice(&header);
        output.put_u8(if padding.is_some() { kind | PADDED } else { kind });
        let mut left = len;
        for part in parts {
            let (taken, _) = part.split_at(part.len().min(left));
            output.put_slice(taken);
            left -= taken.len();
        }
        if let Some(padding) = padding {
            output.put_bytes(0, usize::from(padding));
            output.put_u16(padding);
        }
        let plaintext = output.get_mut(start + HEADER_LEN..).unwrap_or_default();
        match key.seal(&header, plaintext) {
            Ok(tag) => output.put_slice(&tag),
            Err(error) => {
                output.truncate(start);
                self.poison(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }
}
