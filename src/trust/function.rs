//! Trust by a closure of the application.

use core::future::Future;

use alloc::boxed::Box;

use crate::trust::decision::{Decision, DecisionFuture, Request, Trust};

/// Made by [`from_fn`].
#[derive(Clone, Debug)]
pub struct Function<F>(F);

/// Made by [`from_async_fn`].
#[derive(Clone, Debug)]
pub struct AsyncFunction<F>(F);

/// Trust decided by a closure that answers at once.
pub fn from_fn<F>(decide: F) -> Function<F>
where
    F: Fn(&Request) -> Decision + Send + Sync,
{
    Function(decide)
}

/// Trust decided by a closure that may ask elsewhere. It is given the request to keep.
pub fn from_async_fn<F, T>(decide: F) -> AsyncFunction<F>
where
    F: Fn(Request) -> T + Send + Sync,
    T: Future<Output = Decision> + Send + 'static,
{
    AsyncFunction(decide)
}

impl<F> Trust for Function<F>
where
    F: Fn(&Request) -> Decision + Send + Sync,
{
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        self.0(request).ready()
    }
}

impl<F, T> Trust for AsyncFunction<F>
where
    F: Fn(Request) -> T + Send + Sync,
    T: Future<Output = Decision> + Send + 'static,
{
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(self.0(request.clone()))
    }
}
