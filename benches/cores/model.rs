//! What one core and two cores do, and what that means for more: Amdahl's law with the fraction that two cores did not share.

/// Measures `rate` on one core and on `cores`, interleaved, and prints the medians and the model.
pub fn report(what: &str, cores: usize, rounds: usize, mut rate: impl FnMut(usize) -> f64) {
    let (mut ones, mut alls) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ones.push(rate(1));
        alls.push(rate(cores));
    }
    let (one, all) = (median(&mut ones), median(&mut alls));
    println!("{what}");
    println!("    1 core {one:10.2}");
    if cores > 1 {
        let speedup = all / one;
        println!("    {cores} cores {all:9.2}   {speedup:.2} times");
        let serial = serial_fraction(speedup, cores);
        for more in [16, 64] {
            println!(
                "    {more} cores by the model: {:.1} times ({:.1} % is serial)",
                modelled(serial, more),
                serial * 100.0
            );
        }
    }
}

/// The part of the work that is not shared: from s = n / (1 + f (n - 1)).
fn serial_fraction(speedup: f64, cores: usize) -> f64 {
    let cores = cores as f64;
    ((cores / speedup - 1.0) / (cores - 1.0)).clamp(0.0, 1.0)
}

fn modelled(serial: f64, cores: usize) -> f64 {
    let cores = cores as f64;
    cores / (1.0 + serial * (cores - 1.0))
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
