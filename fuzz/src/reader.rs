//! Turns the bytes of an input into choices. Never fails: what is missing reads as zero.

/// Reads an input from front to back.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Reader(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// At most `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A byte that says how many follow, and those.
    pub fn short(&mut self) -> &'a [u8] {
        let len = usize::from(self.u8());
        self.take(len)
    }

    /// A length: small ones often, the limits of the protocol sometimes.
    pub fn len(&mut self) -> usize {
        match self.u8() {
            small @ 0..=199 => usize::from(small),
            200..=239 => usize::from(self.u8()) * 16,
            240..=249 => 4_096 + usize::from(self.u8()),
            250 => 65_535,
            251 => 65_536,
            252 => 65_537,
            253 => 70_000,
            _ => usize::from(self.u16()),
        }
    }

    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
