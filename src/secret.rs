//! Secret bytes: boxed at birth so that moves leave no copies, wiped on drop, never printed, compared or cloned.

use alloc::boxed::Box;
use core::fmt;

use zeroize::Zeroize;

/// `N` secret bytes.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Lets `fill` write the secret in its final place, so that no copy stays on the stack.
    pub fn fill<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Secret(Box::new([0; N]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Takes the bytes over and wipes the place they came from.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let mut secret = Secret(Box::new([0; N]));
        secret.0.copy_from_slice(bytes);
        bytes.zeroize();
        secret
    }

    /// The bytes, for a computation.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

/// Overwrites the stack below, where calls that have returned may have left copies: of what was moved, and of what others compute with.
#[cfg(feature = "std")]
#[inline(never)]
pub(crate) fn wipe_stack() {
    core::hint::black_box(&mut [0_u8; STACK_LEN]).zeroize();
}

/// The same for what a step of the key schedule leaves, which does not reach as deep.
#[inline(never)]
pub(crate) fn wipe_shallow_stack() {
    // The array is made of zeros where the copies were; nobody may leave that out, as somebody might look at it. `wiped.rs` sees that it is so.
    core::hint::black_box(&mut [0_u64; SHALLOW_LEN]);
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// More than a step of the key schedule takes, in words of eight bytes.
const SHALLOW_LEN: usize = 512;
/// More than any key file takes.
#[cfg(feature = "std")]
const STACK_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::take(&mut [0x41; 32]);
        assert_eq!(std::format!("{secret:?}"), "Secret");
    }

    #[test]
    fn take_wipes_its_source() {
        let mut source = [7; 32];
        let secret = Secret::take(&mut source);
        assert_eq!(source, [0; 32]);
        assert_eq!(secret.expose(), &[7; 32]);
    }
}
