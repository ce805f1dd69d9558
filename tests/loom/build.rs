//! Takes the files of the crate that share something between threads as they are, with `std::sync` and `std::thread` taken from loom.

use std::path::Path;
use std::{env, fs};

const FILES: [&str; 11] = [
    "halves.rs",
    "buffers/mod.rs",
    "buffers/outbox.rs",
    "failure.rs",
    "live.rs",
    "stream/failure.rs",
    "stream/link.rs",
    "stream/revoke.rs",
    "stream/write.rs",
    "blocking/common.rs",
    "blocking/wait.rs",
];

fn main() {
    let out = env::var("OUT_DIR").expect("OUT_DIR");
    let mut swapped = 0;
    for file in FILES {
        let path = Path::new("../../src").join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).expect("source");
        swapped += text.matches("std::sync").count() + text.matches("std::thread").count();
        let text = text.replace("std::sync", "crate::sync").replace("std::thread", "crate::thread");
        // Modules are put together in `main.rs`, and only what is sent is there.
        let text: String = text
            .split_inclusive('\n')
            .filter(|line| {
                file != "buffers/mod.rs"
                    || !["mod ", "pub(crate) use", "#[cfg(feature = \"tokio\")]\n"]
                        .iter()
                        .any(|start| line.starts_with(start))
            })
            .collect();
        // From outside of the crate its errors may become more.
        let text = text.replace("| Error::Entropy =>", "| Error::Entropy | _ =>");
        // A file that is included has no documentation of its own.
        let text = text.replace("//!", "//");
        fs::write(Path::new(&out).join(file.replace('/', "_")), text).expect("copy");
    }
    assert!(swapped >= 8, "only {swapped} uses of std were swapped: do the files still share by it?");
}
