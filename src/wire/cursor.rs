//! The only code that cuts bytes from an untrusted message.

use crate::error::{Error, Malformed};

/// Reads a message from front to back; every failure names the field that was missing.
#[derive(Clone, Debug)]
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor(bytes)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer.
    pub fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Error::Malformed(Malformed::Short(field)))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::Malformed(Malformed::Short(field)))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there is none.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Error> {
        self.array(field).map(u8::from_be_bytes)
    }

    /// The next two bytes as a big-endian number.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Error> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// The next four bytes as a big-endian number.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`Malformed::Trailing`] if bytes are left.
    pub fn finish(self, message: &'static str) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed(Malformed::Trailing(message))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [FR-8] Missing and surplus bytes are refused, and the error names the field.
    #[test]
    fn names_what_is_missing_or_left() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u16("a"), Ok(0x0102));
        assert_eq!(cursor.u16("b"), Err(Error::Malformed(Malformed::Short("b"))));
        assert_eq!(cursor.clone().finish("m"), Err(Error::Malformed(Malformed::Trailing("m"))));
        assert_eq!(cursor.u8("c"), Ok(3));
        assert_eq!(cursor.finish("m"), Ok(()));
    }
}
