//! Why a probe cannot be tapped. In: a probe in its program's file, and what the kernel does. Out: the first reason, in
//! words.

use super::{Probe, arguments};
use crate::system;

/// Why a probe cannot be tapped on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not one of Bitcoin Core's tracepoints.
    #[error("Bitcoin Core does not document it")]
    NotDocumented,
    /// No known release of Bitcoin Core has this number of arguments.
    #[error("its number of arguments, {0}, is not known")]
    ArgumentCount(usize),
    /// Neither bitcointap nor libbpf knows this form of an argument's place.
    #[error("argument {number} has a form that bitcointap cannot read: {text}")]
    ArgumentForm {
        /// The argument, counted from 1.
        number: usize,
        /// In the assembler's notation.
        text: String,
    },
    /// Linux 6.18 and later turn such an instruction into a call while a tracer is attached to it. The call writes its
    /// return address below the stack pointer. A function that calls no other one may keep its variables there.
    #[error(
        "it stands on a five-byte nop, and this kernel would turn that into a call, which can overwrite variables of the node"
    )]
    FiveByteNop,
}

impl Probe {
    /// Why it cannot be tapped on this machine; `None` if it can.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal_by(system::kernel_turns_nops_into_calls)
    }

    /// Asks the kernel only if the probe has such nops.
    fn refusal_by(&self, turns_nops_into_calls: impl FnOnce() -> bool) -> Option<Refusal> {
        let Some(tracepoint) = self.tracepoint() else { return Some(Refusal::NotDocumented) };
        let counts = self.places.iter().map(|place| place.arguments.len());
        if let Some(count) = counts.into_iter().find(|&count| !tracepoint.supports(count)) {
            return Some(Refusal::ArgumentCount(count));
        }
        let arguments = self.places.iter().flat_map(|place| (1..).zip(&place.arguments));
        if let Some((number, text)) = arguments.into_iter().find(|(_, text)| !arguments::can_read(text)) {
            return Some(Refusal::ArgumentForm { number, text: text.clone() });
        }
        let becomes_call = self.places.iter().any(|place| becomes_call(&place.code));
        (becomes_call && turns_nops_into_calls()).then_some(Refusal::FiveByteNop)
    }
}

/// Whether a tracer of a probe on this code of x86-64 attaches to a nop of five bytes.
fn becomes_call(code: &[u8]) -> bool {
    /// Where the kernel can do that, libbpf attaches to the second of these two nops.
    const PAIR: [u8; 6] = [0x90, 0x0f, 0x1f, 0x44, 0x00, 0x00];
    code.starts_with(&PAIR) || nop_length(code) == Some(5)
}

/// The length of the nop at the beginning of this code of x86-64.
fn nop_length(code: &[u8]) -> Option<usize> {
    let is_prefix = |byte: &&u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x66 | 0xf2 | 0xf3);
    let prefixes = code.iter().take_while(is_prefix).count();
    match code[prefixes..] {
        [0x90, ..] => Some(prefixes + 1),
        // Nothing reads its operand, which only makes it longer.
        [0x0f, 0x1f, operand, ..] => {
            let (mode, register) = (operand >> 6, operand & 0b111);
            let second_byte = usize::from(mode != 0b11 && register == 0b100);
            let displacement = match (mode, register) {
                (0b01, _) => 1,
                (0b10, _) | (0b00, 0b101) => 4,
                _ => 0,
            };
            Some(prefixes + 3 + second_byte + displacement)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        probes::{Location, READABLE},
        tracepoint::Tracepoint,
    };

    fn probe(places: &[(&[&str], &[u8])]) -> Probe {
        let place = |&(arguments, code): &(&[&str], &[u8])| Location {
            arguments: arguments.iter().map(|&it| it.into()).collect(),
            code: code.into(),
            ..Location::default()
        };
        let name = Tracepoint::MempoolAdded.name().into();
        Probe { name, places: places.iter().map(place).collect(), semaphore: None }
    }

    #[test]
    fn each_argument_of_each_place_must_be_readable() {
        let good: &[&str] = &[READABLE; 3];
        let refusal = |arguments: &[&str]| probe(&[(good, &[]), (arguments, &[])]).refusal_by(|| false);
        assert_eq!(refusal(good), None);
        let words = |arguments: &[&str]| refusal(arguments).unwrap().to_string();
        assert_eq!(words(&[READABLE, READABLE, "8@%ah"]), "argument 3 has a form that bitcointap cannot read: 8@%ah");
        assert_eq!(
            words(&[READABLE, "16@%rax", "8@%ah"]),
            "argument 2 has a form that bitcointap cannot read: 16@%rax"
        );
        assert_eq!(words(&[READABLE; 4]), "its number of arguments, 4, is not known");
        let other = Probe { name: "addrman:attempt_add".into(), ..probe(&[(good, &[])]) };
        assert_eq!(other.refusal_by(|| true), Some(Refusal::NotDocumented));
    }

    #[test]
    fn five_byte_nops_are_refused_where_the_kernel_makes_calls_of_them() {
        let refusal =
            |code: &[u8], turns| probe(&[(&[READABLE; 3], &[0x90, 0xc3]), (&[READABLE; 3], code)]).refusal_by(|| turns);
        for code in [
            &[0x90, 0x0f, 0x1f, 0x44, 0x00, 0x00][..],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00, 0xc3],
            &[0x0f, 0x1f, 0x44, 0x00, 0x08],
            &[0x66, 0x0f, 0x1f, 0x40, 0x00],
            &[0x2e, 0x66, 0x0f, 0x1f, 0xc0],
            &[0x66, 0x66, 0x66, 0x66, 0x90],
        ] {
            assert_eq!(refusal(code, true), Some(Refusal::FiveByteNop), "{code:02x?}");
            assert_eq!(refusal(code, false), None, "{code:02x?}");
        }
        for code in [
            &[][..],
            &[0x90],
            &[0x90, 0x0f, 0x1f, 0x44, 0x00],
            &[0x90, 0x0f, 0x1f, 0x40, 0x00, 0x90],
            &[0x90, 0x66, 0x0f, 0x1f, 0x44, 0x00],
            &[0x66, 0x90, 0x90, 0x90, 0x90],
            &[0x0f, 0x1f, 0x40, 0x00, 0x90],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x05, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f],
            &[0xe8, 0x00, 0x00, 0x00, 0x00],
            // The nop of ARM.
            &[0x1f, 0x20, 0x03, 0xd5],
        ] {
            assert_eq!(refusal(code, true), None, "{code:02x?}");
        }
    }
}
