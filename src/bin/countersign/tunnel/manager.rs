//! What systemd is told (sd_notify(3)). Without it nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::log;

#[derive(Debug)]
pub struct Manager;

impl Manager {
    /// Every tunnel listens.
    pub fn ready(&self, took_over: bool) {
        let mut states = vec![NotifyState::Ready];
        if took_over {
            states.push(NotifyState::MainPid(std::process::id()));
        }
        tell(&states);
    }

    pub fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now().ok());
        tell(&states);
    }

    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Says that we live, twice as often as it wants to hear it. It has not told a process that took over in the unit of another how often that is.
    pub async fn watchdog(took_over: bool) {
        if let Some(interval) = sd_notify::watchdog_enabled().or(took_over.then_some(USUAL)) {
            loop {
                tell(&[NotifyState::Watchdog]);
                sleep(interval / 2).await;
            }
        }
    }
}

/// No watchdog that somebody would want is shorter.
const USUAL: Duration = Duration::from_secs(2);

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::line(format!("warning: systemd can't be told how we are: {error}"));
    }
}
