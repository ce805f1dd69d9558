//! A whole connection over loopback TCP: connect, handshake of both sides, close.

use criterion::Criterion;

use crate::handshake::SUITES;
use crate::runtimes;
use crate::side::Pair;
use crate::sockets::tcp_between;

pub fn all(criterion: &mut Criterion) {
    for (runtime_name, runtime) in runtimes() {
        for (name, suite) in SUITES {
            let [near, far] = Pair::new(suite).configs;
            criterion.bench_function(&format!("connect/{name}-{runtime_name}"), |bencher| {
                bencher.to_async(&runtime).iter(|| tcp_between(&near, &far));
            });
        }
    }
}
