//! The assembler text of the stubs: read by the build script and by the tests.
//!
//! A stub jumps to the address in its slot. At first that is two instructions that name the
//! slot and go to common code, which saves the registers that arguments come in, calls
//! `taper_late_binding_resolve(index)`, restores them and jumps to what it returned: the
//! function itself, which the slot holds from then on.

use std::fmt::Write;

/// The names of `symbols.txt`.
pub fn symbols(list: &str) -> Vec<&str> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Stubs for `names` in the syntax of the GNU assembler (AT&T on x86-64); `None` for an
/// architecture that none were written for.
pub fn assembly(architecture: &str, names: &[&str]) -> Option<String> {
    let (common, stub): (&str, fn(usize) -> String) = match architecture {
        "x86_64" => (X86_64_COMMON, x86_64_stub),
        "aarch64" => (AARCH64_COMMON, aarch64_stub),
        _ => return None,
    };
    let mut text = String::from("    .text\n");
    text.push_str(common);
    for (index, name) in names.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "    .globl {name}\n    .hidden {name}\n    .type {name}, %function\n    .balign 16\n{name}:\n{}",
            stub(index)
        );
    }
    text.push_str("    .section .data.rel, \"aw\"\n    .balign 8\n");
    text.push_str("    .globl taper_late_binding_slots\n    .hidden taper_late_binding_slots\n");
    text.push_str("taper_late_binding_slots:\n");
    for index in 0..names.len() {
        let _ = writeln!(text, "    .quad .Ltaper_first_{index}");
    }
    // The assembler's default would make the whole program's stack executable.
    text.push_str("    .section .note.GNU-stack, \"\", %progbits\n    .text\n");
    Some(text)
}

fn x86_64_stub(index: usize) -> String {
    format!(
        "    jmp *taper_late_binding_slots+{}(%rip)
.Ltaper_first_{index}:
    pushq ${index}
    jmp .Ltaper_common
",
        8 * index
    )
}

/// On entry the stack holds the index and, above it, the caller's return address.
const X86_64_COMMON: &str = "
.Ltaper_common:
    pushq %rax
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %r8
    pushq %r9
    subq $136, %rsp
    movaps %xmm0, (%rsp)
    movaps %xmm1, 16(%rsp)
    movaps %xmm2, 32(%rsp)
    movaps %xmm3, 48(%rsp)
    movaps %xmm4, 64(%rsp)
    movaps %xmm5, 80(%rsp)
    movaps %xmm6, 96(%rsp)
    movaps %xmm7, 112(%rsp)
    movq 192(%rsp), %rdi
    call taper_late_binding_resolve
    movq %rax, %r11
    movaps (%rsp), %xmm0
    movaps 16(%rsp), %xmm1
    movaps 32(%rsp), %xmm2
    movaps 48(%rsp), %xmm3
    movaps 64(%rsp), %xmm4
    movaps 80(%rsp), %xmm5
    movaps 96(%rsp), %xmm6
    movaps 112(%rsp), %xmm7
    addq $136, %rsp
    popq %r9
    popq %r8
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rax
    addq $8, %rsp
    jmp *%r11
";

fn aarch64_stub(index: usize) -> String {
    format!(
        "    adrp x16, taper_late_binding_slots+{offset}
    ldr x16, [x16, :lo12:taper_late_binding_slots+{offset}]
    br x16
.Ltaper_first_{index}:
    mov x17, #{index}
    b .Ltaper_common
",
        offset = 8 * index
    )
}

/// On entry x17 holds the index and x30 the caller's return address.
const AARCH64_COMMON: &str = "
.Ltaper_common:
    stp x29, x30, [sp, #-224]!
    mov x29, sp
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    str x8, [sp, #80]
    stp q0, q1, [sp, #96]
    stp q2, q3, [sp, #128]
    stp q4, q5, [sp, #160]
    stp q6, q7, [sp, #192]
    mov x0, x17
    bl taper_late_binding_resolve
    mov x16, x0
    ldp x0, x1, [sp, #16]
    ldp x2, x3, [sp, #32]
    ldp x4, x5, [sp, #48]
    ldp x6, x7, [sp, #64]
    ldr x8, [sp, #80]
    ldp q0, q1, [sp, #96]
    ldp q2, q3, [sp, #128]
    ldp q4, q5, [sp, #160]
    ldp q6, q7, [sp, #192]
    ldp x29, x30, [sp], #224
    br x16
";
