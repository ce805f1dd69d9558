//! How many sessions are let in: asked after trust, so that who is not trusted hears nothing of the load here.

use std::sync::{Arc, Weak};

use countersign::error::Reason;
use countersign::trust::{Decision, DecisionFuture, Request, Trust, Watcher};

use crate::tunnel::book::{Most, Tunnel};

/// Trust, while there is room.
pub struct WhileRoom {
    pub trust: Arc<dyn Trust>,
    pub tunnel: Arc<Tunnel>,
    pub most: Most,
}

impl Trust for WhileRoom {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let decision = self.trust.decide(request).await;
            // A session that is there has its room.
            if !decision.is_accept() || request.live {
                return decision;
            }
            match self.tunnel.room(self.most, request.public_key()) {
                Ok(()) => decision,
                Err(bound) => Decision::refuse(Reason::Busy, &bound),
            }
        })
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        self.trust.watch(watcher)
    }
}
