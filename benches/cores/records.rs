//! The records of one stream on several cores. A record needs its key and its counter and nothing of the record before it, so that worker w of n
//! takes the records w, w + n, w + 2n ...; whoever sends them takes one from each worker in turn, which is their order.
//!
//! Each worker has the key at its own counters, by the door for test vectors. Nothing in the library does so: there key and counter are one value.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use countersign::crypto::aead::{OpeningKey, SealingKey};
use countersign::crypto::suite::Aead;
use countersign::error::Sealed;
use countersign::secret::Secret;

const CONTENT: usize = 65_536;
const TAG: usize = 16;
const HEADER: [u8; 4] = [0xC5, 0x01, 0x00, 0x11];
/// Records that a worker may be ahead.
const AHEAD: usize = 4;

type Record = Vec<u8>;

/// Seals so many records by so many workers; gives GB/s of content.
pub fn seal(aead: Aead, workers: usize, records: usize) -> f64 {
    let mut check = opening(aead, 0);
    run(
        workers,
        records,
        vec![0; CONTENT + 1 + TAG],
        |counter, record| seal_one(aead, counter, record),
        |counter, record| {
            // All of them would take the time that is measured; these show that order and counters are right.
            if counter < 64 {
                let opened = check.open(&HEADER, record, Sealed::Record).expect("in order");
                assert!(opened.iter().all(|byte| *byte == pattern(counter)), "record {counter}");
            }
        },
    )
}

/// Opens so many records by so many workers; gives GB/s of content.
pub fn open(aead: Aead, workers: usize, records: usize) -> f64 {
    let mut sealed = vec![vec![0; CONTENT + 1 + TAG]; 64];
    sealed.iter_mut().enumerate().for_each(|(counter, record)| seal_one(aead, counter, record));
    let open_one = |counter: usize, record: &mut Record| {
        record.copy_from_slice(&sealed[counter % 64]);
        opening(aead, counter % 64).open(&HEADER, record, Sealed::Record).expect("opened");
    };
    run(workers, records, vec![0; CONTENT + 1 + TAG], open_one, |counter, record| {
        assert!(record[0] == pattern(counter % 64) && record[CONTENT] == record[0], "record {counter}");
    })
}

/// Lets worker w do the records w, w + n, ..., and takes them in order.
fn run(
    workers: usize,
    records: usize,
    empty: Record,
    work: impl Fn(usize, &mut Record) + Sync,
    mut take: impl FnMut(usize, &mut Record),
) -> f64 {
    let started = Instant::now();
    thread::scope(|scope| {
        let lanes: Vec<(Receiver<Record>, SyncSender<Record>)> = (0..workers)
            .map(|worker| {
                let (done, taken) = sync_channel(AHEAD);
                let (back, spare) = sync_channel::<Record>(AHEAD + 1);
                (0..AHEAD).for_each(|_| back.send(empty.clone()).expect("room"));
                let work = &work;
                scope.spawn(move || {
                    for counter in (worker..records).step_by(workers) {
                        let mut record = spare.recv().expect("a buffer");
                        work(counter, &mut record);
                        done.send(record).expect("taken");
                    }
                });
                (taken, back)
            })
            .collect();
        for counter in 0..records {
            let (taken, back) = &lanes[counter % workers];
            let mut record = taken.recv().expect("a record");
            take(counter, &mut record);
            // The worker is done when it needs no more buffers.
            let _ = back.send(record);
        }
    });
    (records * CONTENT) as f64 / started.elapsed().as_secs_f64() / 1e9
}

fn seal_one(aead: Aead, counter: usize, record: &mut Record) {
    let (text, tag) = record.split_at_mut(CONTENT + 1);
    text.fill(pattern(counter));
    let mut key =
        SealingKey::dangerous_at(aead, &Secret::take(&mut [7; 32]), Secret::take(&mut [8; 12]), counter as u64)
            .expect("a key");
    tag.copy_from_slice(&key.seal(&HEADER, text).expect("sealed"));
}

fn opening(aead: Aead, counter: usize) -> OpeningKey {
    OpeningKey::dangerous_at(aead, &Secret::take(&mut [7; 32]), Secret::take(&mut [8; 12]), counter as u64)
        .expect("a key")
}

fn pattern(counter: usize) -> u8 {
    counter.to_le_bytes()[0] ^ 0x5A
}
