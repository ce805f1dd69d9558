//! Bytes to messages and back (specification, section 6). Messages hold byte arrays: what they mean is decided above.

pub mod cursor;
pub mod frame;
pub mod message;
