//! What is measured more than once: by time, by instructions, by allocations of C code. The same work under the same name
//! everywhere: `area/operation/size`.
#![allow(dead_code)]

/// Work that can be done again and again.
pub type Work = Box<dyn FnMut()>;

/// Something to measure, which is prepared only if it is wanted.
pub struct Operation {
    pub id: String,
    prepare: Box<dyn Fn() -> Work>,
}

impl Operation {
    pub fn new<W: FnMut() + 'static>(id: impl Into<String>, prepare: impl Fn() -> W + 'static) -> Self {
        Operation { id: id.into(), prepare: Box::new(move || Box::new(prepare())) }
    }

    pub fn prepare(&self) -> Work {
        (self.prepare)()
    }
}
