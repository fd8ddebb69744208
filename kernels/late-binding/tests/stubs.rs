//! The stubs of both architectures, assembled, linked with a resolver in C, and run.
//!
//! Another architecture than this machine's needs a cross compiler and an emulator; where
//! they are missing that half is skipped, saying so.
// Clippy exempts test functions, but not the helpers they share.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::process::Command;

#[path = "../src/stubs.rs"]
#[allow(missing_docs)]
mod stubs;

const PROGRAM: &str = r#"
#include <stdio.h>

static double many(long a, double b, long c, double d, long e, double f, long g, double h, long i, double j, long k,
                   double l, long m, double n, long o, double p, long q, double r) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l + 13 * m +
           14 * n + 15 * o + 16 * p + 17 * q + 18 * r;
}
static long one(void) { return 1; }

double second(long, double, long, double, long, double, long, double, long, double, long, double, long, double, long,
              double, long, double);
long first(void);

__attribute__((visibility("hidden"))) extern void *taper_late_binding_slots[2];
static int resolved[2];

void *taper_late_binding_resolve(unsigned long index) {
    /* Spoils every register that arguments come in. */
    volatile double sum = printf("%s", "") + index * 0.5;
    (void)sum;
    resolved[index]++;
    return taper_late_binding_slots[index] = index == 0 ? (void *)one : (void *)many;
}

int main(void) {
    for (int call = 0; call < 3; call++) {
        if (first() != 1) return 1;
        if (second(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18) != 2109) return 2;
    }
    return resolved[0] == 1 && resolved[1] == 1 ? 0 : 3;
}
"#;

fn available(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn assemble_and_run(architecture: &str, compiler: &str, runner: Option<&str>) {
    if !available(compiler) || runner.is_some_and(|runner| !available(runner)) {
        eprintln!("skipped: the {architecture} stubs need {compiler} and {runner:?}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = stubs::assembly(architecture, &["first", "second"]).unwrap();
    std::fs::write(at("stubs.s"), text).unwrap();
    std::fs::write(at("program.c"), PROGRAM).unwrap();
    let mut link = Command::new(compiler);
    link.args(["-O1", "-o"]).arg(at("program"));
    link.args([at("program.c"), at("stubs.s")]);
    if runner.is_some() {
        link.arg("-static");
    }
    assert!(link.status().unwrap().success());
    let status = match runner {
        Some(runner) => Command::new(runner).arg(at("program")).status(),
        None => Command::new(at("program")).status(),
    };
    assert_eq!(status.unwrap().code(), Some(0), "{architecture}");
}

#[test]
fn stubs_of_x86_64_pass_arguments_on() {
    match cfg!(target_arch = "x86_64") {
        true => assemble_and_run("x86_64", "cc", None),
        false => assemble_and_run("x86_64", "x86_64-linux-gnu-gcc", Some("qemu-x86_64")),
    }
}

#[test]
fn stubs_of_aarch64_pass_arguments_on() {
    match cfg!(target_arch = "aarch64") {
        true => assemble_and_run("aarch64", "cc", None),
        false => assemble_and_run("aarch64", "aarch64-linux-gnu-gcc", Some("qemu-aarch64")),
    }
}

#[test]
fn every_name_has_a_stub() {
    let names = stubs::symbols(include_str!("../symbols.txt"));
    assert!(names.len() > 1000);
    for architecture in ["x86_64", "aarch64"] {
        let text = stubs::assembly(architecture, &names).unwrap();
        for name in &names {
            assert!(text.contains(&format!("\n{name}:\n")), "{name}");
        }
    }
    assert!(stubs::assembly("riscv64", &names).is_none());
}
