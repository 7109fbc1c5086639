//! Reduces the kernel side's object for libbpf. In: the object, which has a BPF program for each tracepoint. Out: a copy in which
//! libbpf finds only one of them.
//!
//! Each attached tracepoint has an object of its own, and libbpf keeps everything that it finds in it: the instructions of all programs,
//! and the source line of each instruction. These are 200 KiB, and one program needs little of that.

use std::mem::offset_of;

use object::{
    LittleEndian,
    elf::{FileHeader64, SHT_SYMTAB, STT_FUNC, SectionHeader64, Sym64},
    read::elf::{FileHeader, SectionHeader, SectionTable},
};

type Elf = FileHeader64<LittleEndian>;
type Section = SectionHeader64<LittleEndian>;
type Symbol = Sym64<LittleEndian>;

/// The section with all programs.
const PROGRAMS: &[u8] = b"usdt.s";
/// The section with information about instructions for the kernel: where functions begin, and then the source lines.
const ABOUT_INSTRUCTIONS: &[u8] = b".BTF.ext";

/// The kernel side with only this program, or with none, and without source lines: only the verifier's messages about a refused
/// program have these. `None` if `whole` is not such an object.
pub(super) fn only(program: Option<&str>, whole: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = whole.to_vec();
    let header = Elf::parse(whole).ok()?;
    let sections = header.sections(LittleEndian, whole).ok()?;
    hide_others(program, whole, &sections, &mut bytes)?;
    let (index, about) = sections.section_by_name(LittleEndian, ABOUT_INSTRUCTIONS)?;
    let size = cut_lines(about, &mut bytes)?;
    let entry = usize::try_from(header.e_shoff(LittleEndian)).ok()? + index.0 * size_of::<Section>();
    put(&mut bytes, entry + offset_of!(Section, sh_size), &size.to_le_bytes())?;
    Some(bytes)
}

/// Changes the symbols of other programs so that they are no functions. Then libbpf does not take them for programs, and ignores
/// their instructions.
fn hide_others(program: Option<&str>, whole: &[u8], sections: &SectionTable<'_, Elf>, bytes: &mut [u8]) -> Option<()> {
    let (programs, _) = sections.section_by_name(LittleEndian, PROGRAMS)?;
    let symbols = sections.symbols(LittleEndian, whole, SHT_SYMTAB).ok()?;
    let begin = sections.section(symbols.section()).ok()?.sh_offset(LittleEndian);
    for (index, symbol) in symbols.enumerate() {
        let is_program =
            symbol.st_type() == STT_FUNC && symbols.symbol_section(LittleEndian, symbol, index).ok()? == Some(programs);
        let is_wanted = |program: &str| symbols.symbol_name(LittleEndian, symbol) == Ok(program.as_bytes());
        if is_program && !program.is_some_and(is_wanted) {
            let at = usize::try_from(begin).ok()? + index.0 * size_of::<Symbol>() + offset_of!(Symbol, st_info);
            // A local symbol without a type.
            put(bytes, at, &[0])?;
        }
    }
    Some(())
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at + value.len())?.copy_from_slice(value);
    Some(())
}

/// The header of [`ABOUT_INSTRUCTIONS`]: `struct btf_ext_header` of libbpf. Offsets count from its end.
#[repr(C)]
struct Header {
    magic: u16,
    version: u8,
    flags: u8,
    length: u32,
    functions_at: u32,
    functions: u32,
    lines_at: u32,
    lines: u32,
    relocations_at: u32,
    relocations: u32,
}

/// Cuts the section after the part about functions. Gives its new size.
fn cut_lines(section: &Section, bytes: &mut [u8]) -> Option<u64> {
    let begin = usize::try_from(section.sh_offset(LittleEndian)).ok()?;
    let number = |bytes: &[u8], offset: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(begin + offset..begin + offset + 4)?.try_into().ok()?))
    };
    let [header, functions_at, functions] =
        [offset_of!(Header, length), offset_of!(Header, functions_at), offset_of!(Header, functions)]
            .map(|offset| number(bytes, offset));
    let end = functions_at? + functions?;
    for (offset, value) in [
        (offset_of!(Header, lines_at), end),
        (offset_of!(Header, lines), 0),
        (offset_of!(Header, relocations_at), end),
        (offset_of!(Header, relocations), 0),
    ] {
        put(bytes, begin + offset, &value.to_le_bytes())?;
    }
    Some(u64::from(header? + end))
}

#[cfg(test)]
mod tests {
    use libbpf_rs::ObjectBuilder;

    use super::*;
    use crate::{kernel_side::OBJECT, tracepoint::Tracepoint};

    fn programs(object: &[u8]) -> Vec<String> {
        let object = ObjectBuilder::default().open_memory(object).unwrap();
        object.progs().map(|program| program.name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn of_the_programs_one_is_found_or_none() {
        assert_eq!(programs(OBJECT).len(), Tracepoint::COUNT);
        for name in programs(OBJECT) {
            assert_eq!(programs(&only(Some(&name), OBJECT).unwrap()), [name]);
        }
        assert!(programs(&only(None, OBJECT).unwrap()).is_empty());
    }

    #[test]
    fn what_is_no_such_object_is_not_taken() {
        for bytes in [&[][..], b"text", &OBJECT[..64], &OBJECT[..OBJECT.len() / 2]] {
            assert_eq!(only(None, bytes), None);
        }
    }
}
