//! Files of JSON lines in an archive: how they are recognised, and how one is completed that a crash has left. In: a file. Out: the same, up
//! to its last whole line.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use zstd::stream::{
    raw::{self, Operation},
    read,
};

use crate::archive::Kind;

/// JSON lines.
pub(super) const PLAIN: Kind =
    Kind { a_file: "a file of JSON lines", ending: ".ndjson", is_one: is_json, mend: mend_plain };
/// JSON lines in one frame of zstd.
pub(super) const COMPRESSED: Kind = Kind {
    a_file: "a compressed file of JSON lines",
    ending: ".ndjson.zst",
    is_one: is_compressed,
    mend: mend_compressed,
};

/// Whether it begins as each of our lines, which may be indented.
fn is_json(file: &mut dyn Read) -> bool {
    let mut beginning = Vec::new();
    let is_read = file.take(64).read_to_end(&mut beginning).is_ok();
    let in_braces = beginning.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    is_read && in_braces.is_some_and(|it| it.starts_with(b"\"timestamp\":"))
}

fn is_compressed(file: &mut dyn Read) -> bool {
    // A frame that breaks off gives its beginning all the same.
    read::Decoder::new(file).is_ok_and(|mut decoder| is_json(&mut decoder))
}

fn no_line() -> io::Error {
    io::Error::other("it has no whole line")
}

fn mend_plain(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut piece = vec![0; 64 << 10];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(piece.len() as u64);
        let piece = &mut piece[..(end - start) as usize];
        file.read_exact_at(piece, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', piece) {
            let whole = start + newline as u64 + 1;
            return if whole < length { file.set_len(whole) } else { Ok(()) };
        }
        end = start;
    }
    Err(no_line())
}

/// An empty last block (RFC 8878, section 3.1.1.2): it ends the frame.
const LAST_BLOCK: [u8; 3] = [1, 0, 0];
/// The most bytes of a block.
const MOST_IN_BLOCK: usize = 128 << 10;

fn mend_compressed(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut input = BufReader::with_capacity(1 << 20, file);
    input.seek(SeekFrom::Start(0))?;
    let mut decoder = raw::Decoder::new()?;
    let mut decoded = vec![0; MOST_IN_BLOCK];
    // The text that the blocks so far end with.
    let mut decode = |mut bytes: &[u8], last: &mut u8| -> io::Result<()> {
        loop {
            let status = decoder.run_on_buffers(bytes, &mut decoded)?;
            bytes = &bytes[status.bytes_read..];
            if let Some(place) = status.bytes_written.checked_sub(1) {
                *last = decoded[place];
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
    };
    let mut bytes = header(&mut input)?;
    let (mut at, mut last, mut whole) = (bytes.len() as u64, 0, None);
    decode(&bytes, &mut last)?;
    loop {
        bytes.clear();
        let block = block(&mut input, &mut bytes)?;
        if matches!(block, Some(Block { is_last: true })) && at + bytes.len() as u64 == length {
            // It is whole.
            return Ok(());
        }
        if block.is_none() || decode(&bytes, &mut last).is_err() {
            break;
        }
        at += bytes.len() as u64;
        if last == b'\n' {
            whole = Some(at);
        }
        if matches!(block, Some(Block { is_last: true })) {
            // More follows, which is not ours.
            return Ok(());
        }
    }
    let whole = whole.ok_or_else(no_line)?;
    file.set_len(whole)?;
    file.write_all_at(&LAST_BLOCK, whole)
}

/// A frame's header, as an encoder of streams writes it: without a checksum or a dictionary (section 3.1.1.1).
fn header(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = vec![0; 6];
    input.read_exact(&mut header)?;
    let is_of_stream = header[4] == 0;
    if is_of_stream { Ok(header) } else { Err(io::Error::other("another program has compressed it")) }
}

struct Block {
    is_last: bool,
}

/// Reads a block. `None` if it is not whole.
fn block(input: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<Option<Block>> {
    const HEADER: usize = 3;
    let mut fill = |bytes: &mut Vec<u8>, length: usize| -> io::Result<bool> {
        input.take(length as u64).read_to_end(bytes).map(|read| read == length)
    };
    if !fill(bytes, HEADER)? {
        return Ok(None);
    }
    let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    let (is_last, is_run, size) = (number & 1 == 1, number >> 1 & 3 == 1, number >> 3);
    // A block of one byte repeated has only that byte.
    let length = if is_run { 1 } else { size as usize };
    Ok((length <= MOST_IN_BLOCK && fill(bytes, length)?).then_some(Block { is_last }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn mended(kind: &Kind, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        (kind.mend)(&file).map_err(|error| error.to_string())?;
        let mut left = Vec::new();
        (&file).seek(SeekFrom::Start(0)).unwrap();
        (&file).read_to_end(&mut left).unwrap();
        Ok(left)
    }

    fn line(number: u32) -> String {
        format!("{{\"timestamp\":{number},\"event\":{{\"hash\":\"{:08x}\"}}}}\n", number.wrapping_mul(2_654_435_761))
    }

    #[test]
    fn a_torn_line_is_cut_off() {
        let text = [line(1), line(2)].concat();
        for (bytes, left) in
            [(text.clone(), &text), (format!("{text}{{\"timest"), &text), (text[..text.len() - 1].into(), &line(1))]
        {
            assert_eq!(mended(&PLAIN, bytes.as_bytes()), Ok(left.clone().into_bytes()));
        }
        let long = format!("{text}{}", "x".repeat(300_000));
        assert_eq!(mended(&PLAIN, long.as_bytes()), Ok(text.into_bytes()));
        assert_eq!(mended(&PLAIN, b"{\"timestamp\":1"), Err("it has no whole line".into()));
    }

    #[test]
    fn a_frame_that_breaks_off_anywhere_becomes_one_of_whole_lines() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        let (mut text, mut flushed) = (String::new(), Vec::new());
        for number in 0..20_000 {
            let line = line(number);
            encoder.write_all(line.as_bytes()).unwrap();
            text += &line;
            if number % 3_000 == 2_999 {
                encoder.flush().unwrap();
                flushed.push((encoder.get_ref().len(), text.len()));
            }
        }
        let whole = encoder.finish().unwrap();
        assert_eq!(mended(&COMPRESSED, &whole), Ok(whole.clone()));
        assert!(
            is_compressed(&mut &whole[..]) && !is_compressed(&mut text.as_bytes()) && is_json(&mut text.as_bytes())
        );
        let places = (0..whole.len()).step_by(whole.len() / 97).chain(flushed.iter().map(|(at, _)| *at));
        for at in places {
            let sure = flushed.iter().rev().find(|(flushed, _)| *flushed <= at).map_or(0, |(_, sure)| *sure);
            match mended(&COMPRESSED, &whole[..at]) {
                Ok(mended) => {
                    let read = String::from_utf8(zstd::decode_all(&mended[..]).unwrap()).unwrap();
                    assert!(
                        text.starts_with(&read) && read.ends_with('\n') && read.len() >= sure,
                        "{at}: {}",
                        read.len()
                    );
                }
                Err(words) => assert!(sure == 0, "{at}: {words}"),
            }
        }
        // What another program has written stays.
        let other = zstd::encode_all(text.as_bytes(), 3).unwrap();
        let checked = [&other[..4], &[4], &other[5..]].concat();
        assert!(mended(&COMPRESSED, &checked).is_err());
    }
}
