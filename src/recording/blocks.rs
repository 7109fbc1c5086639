//! Cuts a recording into groups and blocks. In: any bytes. Out: the beginnings of groups, and the decompressed contents of each whole
//! block. If something is damaged or missing, an error says so, and reading goes on at the next group.

use std::io::{self, Read};

use memchr::memmem;

use super::{
    BLOCK_HEADER, Error, GOES_ON, MAGIC, MARK, MAX_BLOCK, MAY_GO_ON, VERSION, compression::Decompressor, version2,
};

pub(super) const HEADER_LENGTH: usize = MAGIC.len() + size_of::<u32>();
/// How much is read at once to find the next group.
const SEARCHED: u64 = 64 << 10;
/// The most bytes of a frame: contents that do not compress, and the bytes that were put after each [`MARK`].
const MOST_BYTES: usize = MAX_BLOCK + MAX_BLOCK / 8;

/// What comes next in a recording.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// A group of this version begins.
    Group(u32),
    /// A block, whose contents were read.
    Block,
    /// Nothing more comes.
    End,
}

pub(super) struct Blocks<R> {
    input: R,
    decompressor: zstd::bulk::Decompressor<'static>,
    /// For blocks that go on with each other.
    stream: Decompressor,
    /// Bytes that were read. Those before `from` were taken.
    ahead: Vec<u8>,
    from: usize,
    /// The place of `from` in the recording.
    at: u64,
    /// The version of the group that is being read; `None` between groups.
    version: Option<u32>,
    /// The place of the block that was given last, and the bytes of its frame.
    block_at: u64,
    frame: usize,
    over: bool,
}

impl<R: Read> Blocks<R> {
    /// Reads the first header. Fails if `input` is no recording. Errors count bytes from `at`, where the input begins.
    pub(super) fn new(input: R, at: u64) -> Result<Self, Error> {
        let mut blocks = Self::within_group(input, at, None)?;
        let is_whole = blocks.fill(HEADER_LENGTH)?;
        if !is_whole || !blocks.ahead().starts_with(MAGIC) {
            return Err(Error::NotARecording(instead(blocks.ahead())));
        }
        let version = number(&blocks.ahead()[MAGIC.len()..]);
        if is_known(version) { Ok(blocks) } else { Err(Error::Version(version)) }
    }

    /// The same for an input that begins within a group of this version.
    pub(super) fn within_group(input: R, at: u64, version: Option<u32>) -> io::Result<Self> {
        let decompressor = zstd::bulk::Decompressor::new()?;
        let (stream, ahead) = (Decompressor::new()?, Vec::new());
        Ok(Self { input, decompressor, stream, ahead, from: 0, at, version, block_at: 0, frame: 0, over: false })
    }

    /// Goes on with another input, once this one is over.
    pub(super) fn go_on_with(&mut self, input: R, at: u64) {
        self.ahead.clear();
        (self.input, self.from, self.at, self.version, self.over) = (input, 0, at, None, false);
    }

    /// Reads on. After an error there may be more, unless reading `input` failed.
    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<Piece, Error> {
        if self.over {
            return Ok(Piece::End);
        }
        let result = match self.version {
            None => self.group(),
            Some(version) => self.block(version, block),
        };
        match result {
            Ok(Some(piece)) => Ok(piece),
            // The end of a group.
            Ok(None) => {
                self.version = None;
                self.next(block)
            }
            Err(Error::Io(error)) => {
                self.over = true;
                Err(error.into())
            }
            Err(error) => {
                // Where a block was expected, a group may begin. Where a group was expected, none does.
                if self.version.is_none() {
                    self.take(1);
                }
                Err(self.go_on_after(error))
            }
        }
    }

    /// Refuses the block that was given last, since its contents make no sense.
    pub(super) fn refuse(&mut self, what: &'static str) -> Error {
        let at = self.block_at;
        self.go_on_after(Error::Damaged { at, what, goes_on: None })
    }

    /// The place of the block that was given last.
    pub(super) fn place(&self) -> u64 {
        self.block_at
    }

    /// The compressed bytes of the block that was given last.
    pub(super) fn frame(&self) -> usize {
        self.frame
    }

    fn group(&mut self) -> Result<Option<Piece>, Error> {
        let at = self.at;
        let is_whole = self.fill(HEADER_LENGTH)?;
        let beginning = self.ahead();
        if beginning.is_empty() {
            self.over = true;
            return Ok(Some(Piece::End));
        }
        if !beginning.starts_with(&MAGIC[..beginning.len().min(MAGIC.len())]) {
            return Err(Error::Damaged {
                at,
                what: "after its end, where only another recording may follow",
                goes_on: None,
            });
        }
        if !is_whole {
            return Err(Error::Truncated { at, goes_on: None });
        }
        let version = number(&beginning[MAGIC.len()..]);
        if !is_known(version) {
            let what = match version < 1 << 8 {
                true => "where a group has a version of the format that only another bitcointap reads",
                false => "where a group breaks off",
            };
            return Err(Error::Damaged { at, what, goes_on: None });
        }
        self.take(HEADER_LENGTH);
        self.version = Some(version);
        self.stream.end();
        Ok(Some(Piece::Group(version)))
    }

    /// Reads a block. `None` at the end of the group.
    fn block(&mut self, version: u32, block: &mut Vec<u8>) -> Result<Option<Piece>, Error> {
        let at = self.at;
        let damaged = |what| Error::Damaged { at, what, goes_on: None };
        if !self.fill(BLOCK_HEADER)? {
            return Err(Error::Truncated { at, goes_on: None });
        }
        let header = &self.ahead()[..BLOCK_HEADER];
        if header == [0; BLOCK_HEADER] {
            self.take(BLOCK_HEADER);
            return Ok(None);
        }
        let [length, whole, checksum] = [0, 4, 8].map(|offset| number(&header[offset..]));
        let flags = if version == VERSION { whole & (MAY_GO_ON | GOES_ON) } else { 0 };
        let (length, whole) = (length as usize, (whole & !flags) as usize);
        if whole > MAX_BLOCK || length > MOST_BYTES {
            return Err(damaged("whose size is impossible"));
        }
        if !self.fill(BLOCK_HEADER + length)? {
            return Err(Error::Truncated { at, goes_on: None });
        }
        let frame = &self.ahead[self.from + BLOCK_HEADER..][..length];
        if crc32fast::hash(frame) != checksum {
            return Err(damaged("whose checksum differs"));
        }
        let unmarked = if version == VERSION { unmarked(frame) } else { None };
        let frame = unmarked.as_deref().unwrap_or(frame);
        let read = if flags & MAY_GO_ON == 0 {
            block.clear();
            block.reserve_exact(whole);
            self.decompressor.decompress_to_buffer(frame, block).ok().filter(|&read| read == whole)
        } else {
            block.resize(whole, 0);
            self.stream.decompress(frame, flags & GOES_ON != 0, block).map(|()| whole)
        };
        if read.is_none() || whole == 0 {
            return Err(damaged("which cannot be decompressed"));
        }
        self.take(BLOCK_HEADER + length);
        (self.block_at, self.frame) = (at, length);
        Ok(Some(Piece::Block))
    }

    /// Looks for the next group, and puts its place into the error.
    fn go_on_after(&mut self, error: Error) -> Error {
        self.version = None;
        let goes_on = match self.search() {
            Ok(goes_on) => goes_on,
            Err(error) => {
                self.over = true;
                return error.into();
            }
        };
        match error {
            Error::Damaged { at, what, .. } => Error::Damaged { at, what, goes_on },
            Error::Truncated { at, .. } => Error::Truncated { at, goes_on },
            other => other,
        }
    }

    fn search(&mut self) -> io::Result<Option<u64>> {
        loop {
            if let Some(at) = memmem::find(self.ahead(), MAGIC) {
                self.take(at);
                return Ok(Some(self.at));
            }
            // The last bytes may be the beginning of a header.
            self.take(self.ahead().len().saturating_sub(MAGIC.len() - 1));
            if (&mut self.input).take(SEARCHED).read_to_end(&mut self.ahead)? == 0 {
                self.over = true;
                return Ok(None);
            }
        }
    }

    /// Whether nothing is there at the moment. For an input that more may be put into.
    pub(super) fn is_dry(&mut self) -> io::Result<bool> {
        Ok(!self.fill(1)?)
    }

    fn ahead(&self) -> &[u8] {
        &self.ahead[self.from..]
    }

    /// Reads until so many bytes are ahead. False if the input ends before.
    fn fill(&mut self, length: usize) -> io::Result<bool> {
        let missing = length.saturating_sub(self.ahead().len());
        if missing > 0 {
            self.ahead.reserve(missing.min(1 << 20));
            (&mut self.input).take(missing as u64).read_to_end(&mut self.ahead)?;
        }
        Ok(self.ahead().len() >= length)
    }

    fn take(&mut self, length: usize) {
        let length = length.min(self.ahead().len());
        self.from += length;
        self.at += length as u64;
        // Bytes are moved only if at least as many were taken. So small blocks cost no more than large ones.
        if self.from * 2 >= self.ahead.len() {
            self.ahead.drain(..self.from);
            self.from = 0;
            self.ahead.shrink_to(1 << 20);
        }
    }
}

/// A group whose block headers were followed.
pub(super) struct Hopped {
    /// Its last two blocks, the last one first. The opening is none of them.
    pub last: [Option<Place>; 2],
    /// Where the next group may begin. `None` if the group breaks off, or is damaged.
    pub end: Option<u64>,
}

/// A block.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub at: u64,
    /// The block from which on it can be read.
    pub from: u64,
}

/// Follows the block headers of the group of this version that begins at a place of a file with so many bytes, without reading its
/// blocks. `read` fills bytes from a place on, and says whether it could.
pub(super) fn hop(read: impl Fn(u64, &mut [u8]) -> bool, bytes: u64, group: u64, version: u32) -> Hopped {
    let mut hopped = Hopped { last: [None; 2], end: None };
    let (mut at, mut is_opening) = (group + HEADER_LENGTH as u64, version == VERSION);
    let mut header = [0; BLOCK_HEADER];
    let mut from = at;
    while read(at, &mut header) {
        let next = at + BLOCK_HEADER as u64;
        if header == [0; BLOCK_HEADER] {
            hopped.end = Some(next);
            break;
        }
        let length = number(&header) as usize;
        if length == 0 || length > MOST_BYTES || bytes < next + length as u64 {
            break;
        }
        if !std::mem::take(&mut is_opening) {
            if version != VERSION || number(&header[4..]) & GOES_ON == 0 {
                from = at;
            }
            hopped.last = [Some(Place { at, from }), hopped.last[0]];
        }
        at = next + length as u64;
    }
    hopped
}

fn is_known(version: u32) -> bool {
    [version2::VERSION, VERSION].contains(&version)
}

/// The frame without the byte after each [`MARK`]. `None` if it has no mark.
fn unmarked(frame: &[u8]) -> Option<Vec<u8>> {
    let mut marks = memmem::find_iter(frame, MARK).peekable();
    marks.peek()?;
    let mut unmarked = Vec::with_capacity(frame.len());
    let mut start = 0;
    for mark in marks {
        let end = mark + MARK.len();
        unmarked.extend_from_slice(&frame[start..end]);
        start = frame.len().min(end + 1);
    }
    unmarked.extend_from_slice(&frame[start..]);
    Some(unmarked)
}

/// What a file is that is no recording, by its first bytes, and what to do.
fn instead(header: &[u8]) -> &'static str {
    const COMPRESSED: [&[u8]; 3] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"];
    const PCAPNG: &[u8] = b"\x0a\x0d\x0d\x0a";
    if header.is_empty() {
        "it is empty"
    } else if MAGIC.starts_with(header) || header.starts_with(MAGIC) {
        "it breaks off within its first bytes, before any event"
    } else if COMPRESSED.iter().any(|it| header.starts_with(it)) {
        "it is compressed: decompress it first"
    } else if header.starts_with(PCAPNG) {
        "it has packets for Wireshark (pcapng), not events: `bitcointap record` makes recordings"
    } else if header.starts_with(b"{\"") {
        "it has JSON, which is not replayed: `bitcointap record` makes recordings"
    } else {
        "it is no recording: `bitcointap record` makes them"
    }
}

/// The little-endian number at the start of at least four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
