//! How long a record is made to look (specification, section 11.1). The sender's choice; the receiver takes any.

use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::limits::MAX_CONTENT_LEN;

/// The padding of all records that this side sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// None: the length of a record shows the length of its content.
    #[default]
    None,
    /// Content and padding together are a multiple of so many bytes, and at least one block.
    Block(NonZeroU16),
    /// Content and padding together are a power of two, and at least 64 bytes.
    PowerOfTwo,
}

/// A text that is not a padding policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPadding;

impl Padding {
    /// The most content that a record holds under this policy, in bytes.
    pub(super) fn max_content(self) -> usize {
        match self {
            Padding::None | Padding::PowerOfTwo => MAX_CONTENT_LEN,
            Padding::Block(block) => MAX_CONTENT_LEN / usize::from(block.get()) * usize::from(block.get()),
        }
    }

    /// The padding of so much content, or `None` for no padding flag.
    pub(super) fn of(self, len: usize) -> Option<u16> {
        let target = match self {
            Padding::None => return None,
            Padding::Block(block) => len.max(1).next_multiple_of(usize::from(block.get())),
            Padding::PowerOfTwo => len.max(MIN_POWER).next_power_of_two(),
        };
        u16::try_from(target.min(MAX_CONTENT_LEN).saturating_sub(len)).ok()
    }
}

/// `none`, `block:N` with N from 1 to 65,535 bytes, or `pow2`.
impl FromStr for Padding {
    type Err = UnknownPadding;

    fn from_str(text: &str) -> Result<Self, UnknownPadding> {
        match (text, text.strip_prefix("block:")) {
            ("none", _) => Ok(Padding::None),
            ("pow2", _) => Ok(Padding::PowerOfTwo),
            (_, Some(block)) => block.parse().map(Padding::Block).map_err(|_| UnknownPadding),
            _ => Err(UnknownPadding),
        }
    }
}

impl core::error::Error for UnknownPadding {}

impl fmt::Display for UnknownPadding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected none, block:N with N from 1 to 65535 bytes, or pow2")
    }
}

const MIN_POWER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_pad_to_what_they_say() {
        let block: Padding = "block:1000".parse().unwrap();
        assert_eq!(block.max_content(), 65_000);
        assert_eq!([0, 1, 1_000, 1_001, 65_000].map(|len| block.of(len)), [1_000, 999, 0, 999, 0].map(Some));
        assert_eq!([0, 64, 65, 65_536].map(|len| Padding::PowerOfTwo.of(len)), [64, 0, 63, 0].map(Some));
        assert_eq!(Padding::None.of(5), None);
        assert_eq!("block:65535".parse::<Padding>().unwrap().of(0), Some(65_535));
        for bad in ["", "block:", "block:0", "block:65536", "pow3", "block:-1"] {
            assert_eq!(bad.parse::<Padding>(), Err(UnknownPadding), "{bad}");
        }
    }
}
