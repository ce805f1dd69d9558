//! The blocking API over TCP, each end a thread, or two of them for its halves.

use std::io::{Read, Write};
use std::sync::Barrier;
use std::thread;

use crate::heap::Tally;
use crate::phases::{PHASES, Phases};
use crate::sockets::{blocking_tcp, receive_blocking, send_blocking};

/// One asks, the other gives the same back; both flush.
pub fn echo(size: usize, rounds: usize) -> Tally {
    let [mut near, mut far] = blocking_tcp();
    thread::scope(|scope| {
        let answering = scope.spawn(move || {
            let mut data = vec![7; size];
            for _ in 0..PHASES * rounds {
                far.read_exact(&mut data).expect("read");
                say(&mut far, &data);
            }
        });
        let (mut data, mut phases) = (vec![7; size], Phases::new());
        for _ in 0..PHASES {
            let begun = phases.begin();
            for _ in 0..rounds {
                say(&mut near, &data);
                near.read_exact(&mut data).expect("read");
            }
            phases.end(begun);
        }
        answering.join().expect("no panic");
        phases.least()
    })
}

pub fn one_way(size: usize, writes: usize) -> Tally {
    let ([mut near, mut far], data) = (blocking_tcp(), vec![7; size]);
    together(vec![
        Box::new(|| send_blocking(&mut near, &data, writes)),
        Box::new(|| receive_blocking(&mut far, size * writes)),
    ])
}

pub fn halves_both_ways(size: usize, writes: usize) -> Tally {
    let [mut near, mut far] = blocking_tcp().map(|end| end.into_split().expect("halves"));
    let data = vec![7; size];
    together(vec![
        Box::new(|| send_blocking(&mut near.1, &data, writes)),
        Box::new(|| receive_blocking(&mut near.0, size * writes)),
        Box::new(|| send_blocking(&mut far.1, &data, writes)),
        Box::new(|| receive_blocking(&mut far.0, size * writes)),
    ])
}

fn say(to: &mut impl Write, data: &[u8]) {
    to.write_all(data).expect("written");
    to.flush().expect("flushed");
}

/// Does all at once, each in a thread; a phase begins and ends with all threads waiting.
fn together<'a>(tasks: Vec<Box<dyn FnMut() + Send + 'a>>) -> Tally {
    let barrier = &Barrier::new(tasks.len() + 1);
    thread::scope(|scope| {
        let start = |mut task: Box<dyn FnMut() + Send + 'a>| {
            scope.spawn(move || {
                for _ in 0..PHASES {
                    barrier.wait();
                    barrier.wait();
                    task();
                    barrier.wait();
                }
            })
        };
        let running: Vec<_> = tasks.into_iter().map(start).collect();
        let mut phases = Phases::new();
        for _ in 0..PHASES {
            barrier.wait();
            let begun = phases.begin();
            barrier.wait();
            barrier.wait();
            phases.end(begun);
        }
        running.into_iter().for_each(|thread| thread.join().expect("no panic"));
        phases.least()
    })
}
