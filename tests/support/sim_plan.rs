//! The dice that plan a call: who calls over which path, what goes wrong, and what both sides do.

use std::time::Duration;

use crate::sim::{Dice, Fault, Quality};
use crate::sim_judge::{Ending, Mode, Plan};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Member,
    /// A key that nobody trusts.
    Stranger,
    /// A member that asks for what is not offered.
    Curious,
    /// A member that expects somebody else.
    Mistaken,
    /// Somebody without the network key, or with another.
    Outsider,
    /// Nobody who speaks the protocol: sends so many random bytes, and waits.
    Noise(usize),
}

/// A call, as planned.
#[derive(Clone, Debug)]
pub struct Call {
    pub caller: Caller,
    pub eager: bool,
    pub quality: Quality,
    pub fault: Fault,
    pub plans: [Plan; 2],
    /// Drops the call after so long.
    pub hangs_up: Option<Duration>,
}

impl Call {
    pub fn new(dice: &mut Dice) -> Self {
        let side = dice.size(0, 1);
        let at = match dice.below(3) {
            0 => dice.size(0, 300),
            1 => dice.size(0, 5_000),
            _ => dice.size(0, 60_000),
        };
        let fault = match dice.below(16) {
            0..=1 => Fault::Reset { side, at },
            2..=3 => Fault::Cut { side, at },
            4..=5 => Fault::Hole { side, at },
            6 => Fault::Vanish { side, at },
            7 => Fault::Mute { side },
            _ => Fault::None,
        };
        let caller = match dice.below(24) {
            0..=1 => Caller::Stranger,
            2 => Caller::Curious,
            3 => Caller::Mistaken,
            4 => Caller::Outsider,
            5 => Caller::Noise(dice.pick(&[0, 1, 100, 100_000])),
            _ => Caller::Member,
        };
        let hangs_up = dice.once_in(12).then(|| dice.millis(0, 1_500));
        let mut plans = [Plan::new(dice), Plan::new(dice)];
        if plans[0].ending == Ending::Half || plans[1].ending == Ending::Half {
            // Who has ended can't acknowledge any more.
            plans[1].messages = 0;
            plans[0].ending = Ending::Half;
            plans[1].ending = Ending::Polite;
        }
        Call { caller, eager: dice.once_in(4), quality: Quality::new(dice), fault, plans, hangs_up }
    }

    pub fn healthy(dice: &mut Dice) -> Self {
        let mut call = Call { caller: Caller::Member, fault: Fault::None, hangs_up: None, ..Call::new(dice) };
        call.quality =
            Quality { latency: Duration::from_millis(5), bytes_per_ms: 10_000, room: 65_536, ..call.quality };
        for plan in &mut call.plans {
            (plan.ending, plan.stall, plan.silence, plan.idle) = (Ending::Polite, None, None, None);
            // More than can be received and not yet acknowledged.
            plan.messages = 10;
        }
        call
    }
}

impl Plan {
    fn new(dice: &mut Dice) -> Self {
        let after = dice.size(0, 10_000);
        Plan {
            mode: match dice.below(5) {
                0 => Mode::Together,
                1..=2 => Mode::Cancelling(dice.millis(1, 500)),
                3 => Mode::Owned,
                _ => Mode::Borrowed,
            },
            ending: match dice.below(16) {
                0 => Ending::Rude(after),
                1 => Ending::Abort(after),
                2..=3 => Ending::Half,
                _ => Ending::Polite,
            },
            messages: dice.below(16),
            window: 1 + dice.below(8),
            stall: dice.once_in(6).then(|| (after, dice.millis(100, 30_000))),
            silence: dice.once_in(4).then(|| (after / 2, dice.millis(100, 60_000))),
            idle: dice.once_in(2).then(|| dice.millis(1_000, 20_000)),
            keep_alive: dice.once_in(2).then(|| dice.millis(100, 5_000)),
            flushes: dice.once_in(2),
            write_buffer: dice.pick(&[0, 0, 300, 5_000]),
        }
    }
}

impl Quality {
    fn new(dice: &mut Dice) -> Self {
        let latency = dice.pick(&[0, 0, 1, 10, 10, 50, 200, 1_500]);
        Quality {
            latency: Duration::from_millis(latency),
            bytes_per_ms: dice.pick(&[5, 100, 100, 10_000, 1_000_000]),
            // A record gets through before anybody loses patience.
            room: dice.pick(&[100, 2_000, 16_384, 16_384, 262_144]).max(latency as usize * 2),
            chunk: dice.pick(&[5, 100, 1_500, 1_500, 65_536, 65_536]),
            sulks: dice.pick(&[0, 3, 20]),
        }
    }

    /// How long the flights of a handshake take.
    pub fn handshake(&self) -> Duration {
        let bytes = 5_000;
        self.latency * (6 + bytes / self.room as u32)
            + Duration::from_millis((bytes as usize / self.bytes_per_ms) as u64)
    }
}
