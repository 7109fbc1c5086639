//! Where the arguments of a tracepoint stand, for its program: in the assembler's notation, as the node's program has it
//! ([`Probe`]); out the constants of the kernel side. What is not understood here is left to libbpf.

use crate::{
    kernel_side::types::{argument_place, place},
    node::probes::Probe,
};

/// The bytes of each place of `places` in bpf/event.h, one for each argument.
pub(super) fn of(probe: &Probe) -> Vec<argument_place> {
    let Some((first, others)) = probe.places.split_first() else { return Vec::new() };
    let same = |index: usize, argument: &String| {
        // The compiler may have copied the code, with arguments elsewhere: then each place asks libbpf.
        others.iter().all(|other| other.arguments.get(index) == Some(argument))
    };
    let placed = |(index, argument): (usize, &String)| {
        if same(index, argument) { parse(argument).unwrap_or_default() } else { argument_place::default() }
    };
    first.arguments.iter().enumerate().map(placed).collect()
}

/// Whether libbpf understands it, which looks at all arguments of what it attaches to, also at those that are placed here. What
/// other processors write is left to it.
pub(super) fn can_read(argument: &str) -> bool {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return true;
    }
    let has_known_size = |size: &str| size.parse().is_ok_and(|size: i8| [1, 2, 4, 8].contains(&size.unsigned_abs()));
    let is_for_libbpf = |operand: &str| cfg!(target_arch = "x86_64") && x86_64::is_for_libbpf(operand);
    parse(argument).is_some()
        || argument.split_once('@').is_some_and(|(size, operand)| has_known_size(size) && is_for_libbpf(operand))
}

/// `-8@-1064(%rbp)`: eight bytes with a sign, that far from where a register points; `4@%esi`: four, in a register; `-4@$5`: a
/// number. `None` for what is rare, such as several registers.
fn parse(argument: &str) -> Option<argument_place> {
    let (size, operand) = argument.split_once('@')?;
    let size: i8 = size.parse().ok()?;
    let bytes = size.unsigned_abs();
    if ![1, 2, 4, 8].contains(&bytes) {
        return None;
    }
    let sized = argument_place { bytes, is_signed: (size < 0).into(), ..argument_place::default() };
    let at = |kind: place, word, offset| argument_place { place: kind.0 as u8, word, offset, ..sized };
    let operand = if cfg!(target_arch = "aarch64") { aarch64::operand(operand)? } else { x86_64::operand(operand)? };
    match operand {
        Operand::Register(word) => Some(at(place::PLACE_REGISTER, word, 0)),
        Operand::Memory { word, offset } => Some(at(place::PLACE_MEMORY, word, offset)),
        Operand::Constant(value) => Some(at(place::PLACE_CONSTANT, 0, widened(value, &sized))),
    }
}

/// Of a constant so many low bytes, widened as the kernel side widens what it reads.
fn widened(value: i64, sized: &argument_place) -> i64 {
    let unused_bits = 64 - 8 * u32::from(sized.bytes);
    let high = value << unused_bits;
    if sized.is_signed == 0 { (high as u64 >> unused_bits) as i64 } else { high >> unused_bits }
}

enum Operand {
    /// By its word in the kernel's registers of a thread.
    Register(u8),
    Memory {
        word: u8,
        offset: i64,
    },
    Constant(i64),
}

/// AT&T's notation, the registers in the order of the kernel's struct pt_regs.
mod x86_64 {
    use super::Operand;

    const WORDS: [&[&str]; 20] = [
        &["r15", "r15d", "r15w", "r15b"],
        &["r14", "r14d", "r14w", "r14b"],
        &["r13", "r13d", "r13w", "r13b"],
        &["r12", "r12d", "r12w", "r12b"],
        &["rbp", "ebp", "bp", "bpl"],
        &["rbx", "ebx", "bx", "bl"],
        &["r11", "r11d", "r11w", "r11b"],
        &["r10", "r10d", "r10w", "r10b"],
        &["r9", "r9d", "r9w", "r9b"],
        &["r8", "r8d", "r8w", "r8b"],
        &["rax", "eax", "ax", "al"],
        &["rcx", "ecx", "cx", "cl"],
        &["rdx", "edx", "dx", "dl"],
        &["rsi", "esi", "si", "sil"],
        &["rdi", "edi", "di", "dil"],
        // The number of a system call, the next instruction, the code segment and flags are no arguments.
        &[],
        &[],
        &[],
        &[],
        &["rsp", "esp", "sp", "spl"],
    ];

    pub(super) fn operand(text: &str) -> Option<Operand> {
        if let Some(number) = text.strip_prefix('$') {
            return number.parse().ok().map(Operand::Constant);
        }
        if let Some(name) = text.strip_prefix('%') {
            return word(name).map(Operand::Register);
        }
        let (offset, register) = text.strip_suffix(')')?.split_once("(%")?;
        let offset = if offset.is_empty() { 0 } else { offset.parse().ok()? };
        Some(Operand::Memory { word: word(register)?, offset })
    }

    /// What is known to libbpf alone: the sum of several registers, as `8(%rax,%rcx,4)`, and the address of the code itself.
    pub(super) fn is_for_libbpf(text: &str) -> bool {
        let is_register = |text: &str| {
            text.trim().strip_prefix('%').is_some_and(|name| word(name).is_some() || ["rip", "eip"].contains(&name))
        };
        let Some((offset, registers)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
            return is_register(text);
        };
        let has_known_offset = offset.is_empty() || offset.parse::<i64>().is_ok();
        has_known_offset
            && match registers.split(',').collect::<Vec<_>>()[..] {
                [base] => is_register(base),
                [base, index] => is_register(base) && is_register(index),
                [base, index, scale] => {
                    is_register(base) && is_register(index) && ["1", "2", "4", "8"].contains(&scale.trim())
                }
                _ => false,
            }
    }

    fn word(name: &str) -> Option<u8> {
        WORDS.iter().position(|names| names.contains(&name)).map(|word| word as u8)
    }
}

/// ARM's notation, with the registers 0 to 30 and the stack pointer, as in the kernel's struct user_pt_regs.
mod aarch64 {
    use super::Operand;

    const STACK_POINTER: u8 = 31;

    pub(super) fn operand(text: &str) -> Option<Operand> {
        if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let (register, offset) = inside.split_once(',').unwrap_or((inside, "0"));
            return Some(Operand::Memory { word: word(register.trim())?, offset: offset.trim().parse().ok()? });
        }
        text.parse().ok().map(Operand::Constant).or_else(|| word(text).map(Operand::Register))
    }

    fn word(name: &str) -> Option<u8> {
        if name == "sp" {
            return Some(STACK_POINTER);
        }
        // libbpf does not know the lower halves, w0 to w30, and refuses to attach for them.
        let number = name.strip_prefix('x')?.parse().ok()?;
        (number < STACK_POINTER).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::probes::Location;

    fn placed(kind: place, word: u8, offset: i64, bytes: u8, is_signed: u8) -> argument_place {
        argument_place { offset, place: kind.0 as u8, word, bytes, is_signed, ..argument_place::default() }
    }

    fn fields(it: &argument_place) -> (i64, u8, u8, u8, u8) {
        (it.offset, it.place, it.word, it.bytes, it.is_signed)
    }

    fn assert_parsed(operand: fn(&str) -> Option<Operand>, text: &str, expected: Option<(place, u8, i64)>) {
        let parsed = operand(text).map(|operand| match operand {
            Operand::Register(word) => (place::PLACE_REGISTER, word, 0),
            Operand::Memory { word, offset } => (place::PLACE_MEMORY, word, offset),
            Operand::Constant(value) => (place::PLACE_CONSTANT, 0, value),
        });
        let numbers = |it: Option<(place, u8, i64)>| it.map(|(kind, word, offset)| (kind.0, word, offset));
        assert_eq!(numbers(parsed), numbers(expected), "{text}");
    }

    #[test]
    fn the_notation_of_x86() {
        let (register, memory, constant) = (place::PLACE_REGISTER, place::PLACE_MEMORY, place::PLACE_CONSTANT);
        for (text, expected) in [
            ("%rdi", Some((register, 14, 0))),
            ("%r8d", Some((register, 9, 0))),
            ("%sil", Some((register, 13, 0))),
            ("%bp", Some((register, 4, 0))),
            ("-1064(%rbp)", Some((memory, 4, -1064))),
            ("(%rsp)", Some((memory, 19, 0))),
            ("288(%r12)", Some((memory, 3, 288))),
            ("$0", Some((constant, 0, 0))),
            ("$-7", Some((constant, 0, -7))),
            // The second byte of a register, several of them, and what is relative to the next instruction.
            ("%ah", None),
            ("8(%rax,%rcx,8)", None),
            ("symbol+8(%rip)", None),
            ("16(%rip)", None),
            ("%", None),
            ("", None),
        ] {
            assert_parsed(x86_64::operand, text, expected);
        }
    }

    #[test]
    fn the_notation_of_arm() {
        let (register, memory, constant) = (place::PLACE_REGISTER, place::PLACE_MEMORY, place::PLACE_CONSTANT);
        for (text, expected) in [
            ("x0", Some((register, 0, 0))),
            ("x30", Some((register, 30, 0))),
            ("sp", Some((register, 31, 0))),
            ("[x19, 40]", Some((memory, 19, 40))),
            ("[sp]", Some((memory, 31, 0))),
            ("[sp, -16]", Some((memory, 31, -16))),
            ("[x20, 200]", Some((memory, 20, 200))),
            ("5", Some((constant, 0, 5))),
            ("-5", Some((constant, 0, -5))),
            ("x31", None),
            ("w30", None),
            ("[x1, x2]", None),
            ("[x1", None),
            ("", None),
        ] {
            assert_parsed(aarch64::operand, text, expected);
        }
    }

    #[test]
    fn sizes_tell_width_and_sign() {
        let constant = if cfg!(target_arch = "aarch64") { "@5" } else { "@$5" };
        let parsed = |size: &str| parse(&format!("{size}{constant}")).map(|it| (it.bytes, it.is_signed));
        assert_eq!(["-8", "4", "-2", "1"].map(parsed), [Some((8, 1)), Some((4, 0)), Some((2, 1)), Some((1, 0))]);
        assert_eq!(["3", "16", "0", "", "8f", "-128"].map(parsed), [None; 6]);
        assert!(parse("5").is_none());
        let value = |text: &str| parse(&text.replacen('@', &constant[..constant.len() - 1], 1)).map(|it| it.offset);
        // All bits of an unsigned number, as libbpf has it; and a sign that only the width tells.
        let texts = ["4@-1", "-4@-1", "-4@4294967295", "1@256", "8@-1", "-2@-7"];
        assert_eq!(texts.map(value), [0xffff_ffff, -1, -1, 0, -1, -7].map(Some));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_libbpf_understands_can_be_read() {
        for text in [
            "8@%rax",
            "-1@-20(%rbp)",
            "4@$-7",
            "8@8(%rax,%rcx,8)",
            "1@(%rbp,%rax)",
            "1@-96(%rbp,%rax,1)",
            "8@%rip",
            "4@16(%rip)",
        ] {
            assert!(can_read(text), "{text}");
        }
        for text in [
            "8@%ah",
            "8@%xmm0",
            "16@%rax",
            "8@symbol+8(%rip)",
            "8@(%rax,%rcx,3)",
            "8@(,%rcx,8)",
            "8@(%rax,%rcx,8,1)",
            "8@%fs:8(%rax)",
            "8@$0x10",
            "8@",
            "%rax",
            "",
        ] {
            assert!(!can_read(text), "{text}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_differs_between_copies_of_the_code_is_left_to_libbpf() {
        let at = |arguments: &[&str]| Location {
            arguments: arguments.iter().map(|&it| it.into()).collect(),
            ..Location::default()
        };
        let probe = |places| Probe { name: "net:inbound_message".into(), places, semaphore: None };
        let one = of(&probe(vec![at(&["8@%rdi", "4@symbol(%rip)"])]));
        let register = placed(place::PLACE_REGISTER, 14, 0, 8, 0);
        let other = argument_place::default();
        assert_eq!(one.iter().map(fields).collect::<Vec<_>>(), [fields(&register), fields(&other)]);
        let two = of(&probe(vec![at(&["8@%rdi", "4@%eax"]), at(&["8@%rdi", "4@%edx"])]));
        assert_eq!(two.iter().map(fields).collect::<Vec<_>>(), [fields(&register), fields(&other)]);
        assert!(of(&probe(Vec::new())).is_empty());
        assert_eq!(place::PLACE_OTHER.0, 0, "the default");
    }
}
