//! The C library starts and ends the program; without std nobody else asks for it.
fn main() {
    println!("cargo::rustc-link-lib=c");
}
